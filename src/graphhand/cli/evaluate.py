"""``graphhand evaluate``: scores of a network or of a predictions file, with the protocol they were taken under."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from graphhand.cli.outputs import model_files, progress_bar, refuse_inputs, require_folder_of, write_json, writing
from graphhand.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from rich.console import Console

    from graphhand.data import HandDataset
    from graphhand.evaluation import CropChoice, Evaluation, PoseRecords
    from graphhand.evaluation.predict import EvaluationSettings
    from graphhand.evaluation.published import Curve
    from graphhand.evaluation.records import Predictions
    from graphhand.evaluation.submissions import SubmissionFormat
    from graphhand.types import FloatArray

_DATA = "Predictions and data"
_PROTOCOL = "Protocols"
_OUTPUT = "Output"


def evaluate(
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Settings, e.g. camera=assumed.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Bundled name or folder of trained weights.", rich_help_panel=_DATA)
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Score a file instead: predict's JSON lines, a FreiHAND, HO-3D or DexYCB submission, .npz or .mat.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set name (see 'graphhand data list'), 'annotated-crops', or 'rendered' (needs no folder).",
            rich_help_panel=_DATA,
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The data set's folder.", rich_help_panel=_DATA)] = None,
    split: Annotated[str | None, typer.Option(help="Split; by default the test split.", rich_help_panel=_DATA)] = None,
    whole_image: Annotated[
        bool,
        typer.Option(
            "--whole-image", help="Give the network whole images, not crops around hands.", rich_help_panel=_DATA
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Evaluate the first N samples.", rich_help_panel=_DATA)
    ] = None,
    detection: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Score boxes of a detector (--weights) or of predictions, on the images of this file: COCO's .json, "
            "boxes.json or scenes.jsonl.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Named protocol, repeatable; see --list-presets.", rich_help_panel=_PROTOCOL),
    ] = None,
    protocol: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Protocol from a YAML or JSON file, repeatable.", rich_help_panel=_PROTOCOL),
    ] = None,
    list_presets: Annotated[
        bool, typer.Option("--list-presets", help="Print the named protocols and stop.", rich_help_panel=_PROTOCOL)
    ] = False,
    print_protocol: Annotated[
        bool,
        typer.Option(
            "--print-protocol", help="Print the chosen protocol as a YAML file and stop.", rich_help_panel=_PROTOCOL
        ),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the report as JSON; '-' prints it.", rich_help_panel=_OUTPUT)
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for curves, bars and example images.", rich_help_panel=_OUTPUT)
    ] = None,
    save_predictions: Annotated[
        Path | None, typer.Option(help="Write predictions and labels as .npz.", rich_help_panel=_OUTPUT)
    ] = None,
    submission: Annotated[
        Path | None, typer.Option(help="Write an evaluation server's file.", rich_help_panel=_OUTPUT)
    ] = None,
) -> None:
    """Evaluate weights on a data set, or a file of predictions, under named protocols.

    Exit code 1: a sample could not be read (the others count), or nothing could be evaluated.

    \b
    Settings, as KEY=VALUE:
      protocol.KEY       a field of every protocol, e.g. protocol.scale=bone
      data.KEY           a choice of the data set, e.g. data.wrist_rule=bihand
      camera             truth: the data set's intrinsics; assumed: none are given
      pose               final, or prior: the hand model's pose before refinement
      batch_size         crops in a batch (32)
      workers            processes that read images (0)
      device             cpu, cuda, cuda:1; by default a GPU if there is one
      strict             true: stop at the first unreadable sample
      unit               m, cm or mm: unit of the predictions file
      joint_order        freihand, mano, ho3d, rhd, ...: of the predictions file
      axes               camera (y down, z forward) or opengl: of the same file
      regressor          file of a joint regressor to apply
      fit_regressor      file to write one to, fitted on this training split
      hand               right MANO hand to fit to the joints, for mesh scores
      curves             published PCK curves to draw too, file or folder
      beside             further weights to score, e.g. \\[fast,runs/a]
      submission_format  freihand, ho3d or dexycb; by default the data set's own

    \b
    Examples:
      graphhand evaluate --weights default --dataset stb --root STB --preset ge
      graphhand evaluate --weights fast --dataset rendered --limit 500
      graphhand evaluate --print-protocol --preset ge > mine.yaml
      graphhand evaluate --predictions hands.npz --protocol mine.yaml
      graphhand evaluate --detection boxes.json --weights runs/detector
    """
    from rich.console import Console

    from graphhand.cli.evaluate_detection import evaluate_detection, print_scores, refuse_joint_options
    from graphhand.evaluation import evaluate, print_report, split_coverage
    from graphhand.evaluation import protocol as protocols
    from graphhand.evaluation.match import read_predictions
    from graphhand.evaluation.predict import CropChoice, load_settings, open_evaluation_set, predict_with_weights
    from graphhand.evaluation.regressor import JointRegressor
    from graphhand.hand_model.fitting import hand_models

    console = Console()
    if detection is not None:
        refuse_joint_options(dataset, preset, protocol, save_predictions, submission)
        with _progress(True) as progress:
            scores = evaluate_detection(
                detection, root, split, weights, predictions, limit, settings or (), json_file, figures, progress
            )
        print_scores(scores, json_file)
        return
    if list_presets:
        _print_presets(console)
        return
    chosen, data_options = load_settings(settings or ())
    judged_by = protocols.choose_protocols(preset or (), protocol or (), chosen.protocol)
    if print_protocol:
        typer.echo("---\n".join(one.to_yaml() for one in judged_by), nl=False)
        return
    crop = CropChoice("image" if whole_image else "truth", camera=chosen.camera)
    _refuse_contradictions(weights, predictions, dataset, root, submission, limit, crop, chosen)
    outputs = {
        "--json": json_file,
        "--save-predictions": save_predictions,
        "--submission": submission,
        "fit_regressor": chosen.fit_regressor,
    }
    read = [predictions, chosen.regressor, chosen.curves, *(protocol or ()), *_files_in(chosen.curves)]
    read += model_files(weights, *chosen.beside, hand_model=chosen.hand)
    _refuse_outputs(outputs, figures, [f"pck_{one.name}.csv" for one in judged_by], read)
    curves = _load_curves(chosen.curves, figures)
    regressor = None if chosen.regressor is None else JointRegressor.load(chosen.regressor)
    hand = None if chosen.hand is None else hand_models(chosen.hand)["right"]
    with _process_group(chosen.device) as (rank, device), _progress(rank == 0) as progress:
        samples = None if dataset is None else open_evaluation_set(dataset, root, split, data_options)
        server = None if submission is None else _submission_format(chosen.submission_format, samples)
        if chosen.fit_regressor is not None:
            _refuse_test_split(samples)
        if weights is not None and samples is not None:
            predicted, *others = (
                predict_with_weights(
                    one, samples, crop=crop, pose=chosen.pose, device=device, batch_size=chosen.batch_size,
                    workers=chosen.workers, limit=limit, strict=chosen.strict, progress=progress,
                )
                for one in (weights, *chosen.beside)
            )  # fmt: skip
        else:
            assert predictions is not None
            others = []
            predicted = read_predictions(
                predictions, samples, stored=chosen.stored, limit=limit, strict=chosen.strict, progress=progress
            )
    if rank != 0:
        return  # one process reports
    data = {"labels": "from the predictions file"} if samples is None else dict(getattr(samples, "protocol", {}))
    if limit is not None:
        data["limit"] = f"first {limit} samples"
    coverage = None if samples is None else split_coverage(samples, predicted, root)
    with _progress(hand is not None) as progress:
        evaluation, *beside = (
            evaluate(
                one, judged_by, data=data, coverage=coverage, regressor=regressor, hand=hand,
                true_vertices_m=_true_vertices(samples, one, hand is not None), progress=progress,
            )
            for one in (predicted, *others)
        )  # fmt: skip
    is_quiet = json_file is not None and str(json_file) == "-"
    remarks = Console(stderr=True) if is_quiet else console
    _write(evaluation, beside, samples, curves, json_file, figures, save_predictions)
    if chosen.fit_regressor is not None:
        _fit(chosen.fit_regressor, evaluation, predicted.records, remarks)
    if submission is not None and server is not None and samples is not None:
        _submit(submission, server, evaluation, len(samples), remarks)
    if not is_quiet:
        for one in (evaluation, *beside):
            print_report(one, console)
    if evaluation.unreadable:
        raise typer.Exit(1)


def _refuse_contradictions(
    weights: str | None,
    predictions: Path | None,
    dataset: str | None,
    root: Path | None,
    submission: Path | None,
    limit: int | None,
    crop: CropChoice,
    chosen: EvaluationSettings,
) -> None:
    if (weights is None) == (predictions is None):
        raise InputError("graphhand evaluate", "needs one of --weights and --predictions", "see --help")
    if dataset is None and root is not None:
        raise InputError("--dataset and --root", "belong together", "give both")
    if weights is not None and dataset is None:
        raise InputError("--weights", "needs images", "add --dataset NAME --root DIR")
    if predictions is not None and (crop.rule, crop.camera, chosen.pose) != ("truth", "truth", "final"):
        raise InputError("--whole-image, camera and pose", "apply to --weights alone", "omit them with --predictions")
    if predictions is not None and chosen.beside:
        raise InputError("beside", "needs --weights", "omit it with --predictions")
    if submission is not None and dataset is None:
        raise InputError("--submission", "needs a whole data set", "add --dataset NAME --root DIR")
    if submission is not None and limit is not None:
        raise InputError("--submission", "needs every sample of the split", "omit --limit")


def _refuse_outputs(
    outputs: dict[str, Path | None], figures: Path | None, names: Sequence[str], read: Sequence[Path | None]
) -> None:
    """Refuse, before the long work, outputs that cannot be written or that are read here; names are of figures."""
    for option, path in outputs.items():
        refuse_inputs(path, option, read)
        require_folder_of(path, option)
    if figures is None:
        return
    if figures.exists() and not figures.is_dir():
        raise InputError(figures, "is not a folder", "choose another --figures")
    for name in names:
        refuse_inputs(figures / name, "--figures", read)


def _files_in(folder: Path | None) -> list[Path]:
    return [] if folder is None or not folder.is_dir() else list(folder.iterdir())


def _load_curves(curves: Path | None, figures: Path | None) -> list[Curve]:
    """Published curves, read before the long work so that a wrong path fails at once."""
    from graphhand.evaluation import load_curves

    if curves is None:
        return []
    if figures is None:
        raise InputError("curves", "are drawn into a figure", "add --figures DIR")
    return load_curves(curves)


def _write(
    evaluation: Evaluation,
    beside: list[Evaluation],
    samples: HandDataset | None,
    curves: list[Curve],
    json_file: Path | None,
    figures: Path | None,
    save_predictions: Path | None,
) -> None:
    from graphhand.io.files import replacing

    if json_file is not None:
        report = evaluation.to_json()
        write_json(json_file, {**report, "beside": [one.to_json() for one in beside]} if beside else report)
    if save_predictions is not None:
        with writing(save_predictions, "--save-predictions"), replacing(save_predictions) as temporary:
            evaluation.records.save(temporary)
    if figures is not None and evaluation.scores:
        from graphhand.evaluation.figures import write_figures

        with writing(figures, "--figures"):
            write_figures(figures, evaluation, samples, curves, beside)


def _refuse_test_split(samples: HandDataset | None) -> None:
    """A regressor fitted on the split that results are reported on would flatter them."""
    test_split = getattr(getattr(samples, "info", None), "test_split", "")
    if test_split and getattr(samples, "protocol", {}).get("split") == test_split:
        raise InputError(
            "fit_regressor", f"{test_split} is the split results are reported on", "fit on another --split"
        )


def _submission_format(chosen: SubmissionFormat | None, samples: HandDataset | None) -> SubmissionFormat:
    """The format asked for, or the data set's own."""
    kind = chosen or getattr(samples, "protocol", {}).get("dataset")
    if kind not in ("freihand", "ho3d", "dexycb"):
        raise InputError("--submission", f"{kind} has no format of its own", "add submission_format=NAME")
    return cast("SubmissionFormat", kind)


def _true_vertices(samples: HandDataset | None, predicted: Predictions, has_hand: bool) -> FloatArray | None:
    """Labels of the meshes, a row for each record; None where there is nothing to compare, or the set has none."""
    read = getattr(samples, "vertices_m", None)
    if read is None or (predicted.vertices_m is None and not has_hand) or not len(predicted.records):
        return None
    labels: FloatArray | None = read(predicted.records.index.tolist())
    return labels


def _fit(path: Path, evaluation: Evaluation, records: PoseRecords, console: Console) -> None:
    from graphhand.evaluation import fit_joint_regressor

    fitted_on = {**evaluation.data, "model": evaluation.source.get("model", evaluation.source.get("file", ""))}
    try:
        regressor = fit_joint_regressor(records, fitted_on)
    except ValueError as error:
        raise InputError("fit_regressor", str(error), "give a larger training split") from None
    with writing(path, "fit_regressor"):
        regressor.save(path)
    console.print(f"joint regressor written to {path}: name it with every number that uses it", highlight=False)


def _submit(path: Path, kind: SubmissionFormat, evaluation: Evaluation, samples: int, console: Console) -> None:
    from graphhand.data.validation import MANO_VERTICES
    from graphhand.evaluation.submissions import write_submission

    with writing(path, "--submission"):
        write_submission(path, evaluation.records, kind, evaluation.skipped, samples, evaluation.vertices_m)
    mesh = ""
    if kind != "dexycb":
        mesh = "; vertices are zeros: joint scores are valid, mesh scores are not (hand=MANO_RIGHT.pkl fits meshes)"
        mesh = mesh if evaluation.vertices_m is None else f", with meshes of {MANO_VERTICES} vertices"
    console.print(f"submission written to {path}{mesh}", highlight=False, soft_wrap=True, markup=False)


def _print_presets(console: Console) -> None:
    from graphhand.evaluation import DEFAULT_PRESETS, PRESETS

    for name, protocol in PRESETS.items():
        default = " (default)" if name in DEFAULT_PRESETS else ""
        console.print(f"[bold]{name}[/bold]{default}: {protocol.describe()}", highlight=False)
        if protocol.note:
            console.print(f"    note: {protocol.note}", highlight=False, style="dim")


@contextmanager
def _process_group(device: str | None) -> Iterator[tuple[int, torch.device]]:
    """This process's rank and device; joins the other processes where torchrun started several."""
    import torch
    import torch.distributed as dist

    from graphhand.devices import usable_device

    local_rank, world_size = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = usable_device(f"cuda:{local_rank}" if device is None and torch.cuda.is_available() else device)
    if world_size == 1 or dist.is_initialized():
        yield (dist.get_rank() if dist.is_initialized() else 0), chosen
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield dist.get_rank(), chosen
    finally:
        dist.destroy_process_group()


@contextmanager
def _progress(shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A function of samples done and samples in all, with a bar on the terminal where ``shown``."""
    if not shown:
        yield lambda done, total: None
        return
    with progress_bar() as bar:
        task = bar.add_task("samples", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
