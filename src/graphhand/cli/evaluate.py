"""``graphhand evaluate``: numbers for a network or a predictions file, with the protocol they were taken under."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from graphhand.cli.outputs import refuse_inputs, require_folder_of, write_json, writing
from graphhand.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import torch
    from rich.console import Console

    from graphhand.data import HandDataset
    from graphhand.evaluation import Evaluation, PoseRecords
    from graphhand.evaluation.published import Curve
    from graphhand.evaluation.submissions import SubmissionFormat

_PROTOCOL = "Protocol switches (each changes every chosen preset)"
_DATA = "Predictions and data"
_OUTPUT = "Output"

Align = Literal["none", "root", "procrustes"]
Scale = Literal["none", "bone", "least-squares"]
Average = Literal["joints", "samples", "pooled"]
JointZero = Literal["wrist", "palm-middle", "palm-ring"]


def evaluate(
    weights: Annotated[
        str | None, typer.Option(help="Bundled name or folder of trained weights.", rich_help_panel=_DATA)
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Score a file instead: predict's JSON lines, FreiHAND-style JSON, .npz or .mat.", rich_help_panel=_DATA
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set name (see 'graphhand data list'), 'annotated-crops', or 'rendered' (drawn, no folder).",
            rich_help_panel=_DATA,
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The data set's folder.", rich_help_panel=_DATA)] = None,
    split: Annotated[
        str | None, typer.Option(help="Split; the one results are reported on by default.", rich_help_panel=_DATA)
    ] = None,
    data_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A choice of the data set, e.g. wrist_rule=ge.", rich_help_panel=_DATA),
    ] = None,
    unit: Annotated[
        Literal["m", "cm", "mm"], typer.Option(help="Unit of the predictions file.", rich_help_panel=_DATA)
    ] = "m",
    crop: Annotated[
        Literal["truth", "image"],
        typer.Option(help="Show the network the true box, or the whole image.", rich_help_panel=_DATA),
    ] = "truth",
    camera: Annotated[
        Literal["truth", "assumed"],
        typer.Option(help="Tell the network the true intrinsics, or none.", rich_help_panel=_DATA),
    ] = "truth",
    pose: Annotated[
        Literal["final", "prior"],
        typer.Option(help="Score the final pose, or the hand model's prior.", rich_help_panel=_DATA),
    ] = "final",
    regressor: Annotated[
        Path | None, typer.Option(help="Joint regressor to apply to the predictions.", rich_help_panel=_DATA)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="First so many samples only.", rich_help_panel=_DATA)] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first unreadable sample.", rich_help_panel=_DATA)
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops at a time.", rich_help_panel=_DATA)] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.", rich_help_panel=_DATA)] = 0,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1; a GPU if there is one.", rich_help_panel=_DATA)
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(help="Named protocol, repeatable; see --list-presets.", rich_help_panel=_PROTOCOL),
    ] = None,
    align: Annotated[Align | None, typer.Option(help="Alignment.", rich_help_panel=_PROTOCOL)] = None,
    root_joint: Annotated[
        str | None, typer.Option(help="Joint a root alignment fixes, e.g. middle_mcp.", rich_help_panel=_PROTOCOL)
    ] = None,
    scale: Annotated[
        Scale | None, typer.Option(help="Scale given to the prediction.", rich_help_panel=_PROTOCOL)
    ] = None,
    bone: Annotated[
        str | None,
        typer.Option(help="Bone of --scale bone, e.g. wrist,middle_mcp.", rich_help_panel=_PROTOCOL),
    ] = None,
    joint_zero: Annotated[
        JointZero | None, typer.Option(help="What joint 0 is on both sides.", rich_help_panel=_PROTOCOL)
    ] = None,
    reflection: Annotated[
        bool | None,
        typer.Option("--reflection/--no-reflection", help="Procrustes may mirror.", rich_help_panel=_PROTOCOL),
    ] = None,
    count_root: Annotated[
        bool | None,
        typer.Option("--count-root/--no-count-root", help="The aligned root counts.", rich_help_panel=_PROTOCOL),
    ] = None,
    visible_only: Annotated[
        bool | None,
        typer.Option("--visible-only/--all-joints", help="Hidden joints do not count.", rich_help_panel=_PROTOCOL),
    ] = None,
    average: Annotated[Average | None, typer.Option(help="Order of averaging.", rich_help_panel=_PROTOCOL)] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(help="PCK grid: a name, or LOW-HIGHxPOINTS in mm.", rich_help_panel=_PROTOCOL),
    ] = None,
    list_presets: Annotated[bool, typer.Option("--list-presets", help="Print the named protocols and stop.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything as JSON; '-' prints it.", rich_help_panel=_OUTPUT)
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for curves, bars and cases.", rich_help_panel=_OUTPUT)
    ] = None,
    curves: Annotated[
        Path | None, typer.Option(help="Other people's PCK curves to draw beside ours.", rich_help_panel=_OUTPUT)
    ] = None,
    save_predictions: Annotated[
        Path | None, typer.Option(help="Keep predictions and labels as .npz.", rich_help_panel=_OUTPUT)
    ] = None,
    submission: Annotated[
        Path | None, typer.Option(help="Write an evaluation server's file.", rich_help_panel=_OUTPUT)
    ] = None,
    submission_format: Annotated[
        Literal["freihand", "ho3d", "dexycb"] | None,
        typer.Option(help="Its format; the data set's own by default.", rich_help_panel=_OUTPUT),
    ] = None,
    fit_regressor: Annotated[
        Path | None,
        typer.Option(help="Fit a joint regressor on this (training!) split and write it.", rich_help_panel=_OUTPUT),
    ] = None,
) -> None:
    """Evaluate weights on a data set, or a file of predictions, under named protocols.

    Exit code 1: a sample could not be read (the others count), or nothing could be evaluated.

    Example: graphhand evaluate --weights default --dataset stb --root STB --preset paper --figures out
    """
    from rich.console import Console

    console = Console()
    if list_presets:
        _print_presets(console)
        return
    from graphhand.evaluation import CropChoice, print_report, session

    protocols = session.choose_protocols(
        preset, alignment=align, root_joint=root_joint, scale=scale, bone=bone, joint_zero=joint_zero,
        reflection=reflection, count_root=count_root, visible_only=visible_only, average=average,
        thresholds=thresholds,
    )  # fmt: skip
    _refuse_contradictions(weights, predictions, dataset, root, submission, limit, (crop, camera, pose))
    outputs = {
        "--json": json_file, "--save-predictions": save_predictions, "--submission": submission,
        "--fit-regressor": fit_regressor,
    }  # fmt: skip
    _refuse_outputs(outputs, figures, inputs=(predictions, regressor, curves))
    other_curves = _load_curves(curves, figures)
    with _process_group(device) as (rank, torch_device), _progress(rank == 0) as progress:
        samples = None if dataset is None else session.open_samples(dataset, root, split, data_option or ())
        server = None if submission is None else _submission_format(submission_format, samples)
        if fit_regressor is not None:
            _refuse_test_split(samples)
        if weights is not None and samples is not None:
            predicted = session.predict_with(
                weights, samples, crop=CropChoice(crop, camera=camera), pose=pose, device=torch_device,
                batch_size=batch_size, workers=workers, limit=limit, strict=strict, progress=progress,
            )  # fmt: skip
        else:
            assert predictions is not None
            predicted = session.read_predictions(predictions, samples, unit, limit, strict, progress)
    if rank != 0:
        return  # one process reports
    evaluation = session.conclude(predicted, protocols, samples=samples, limit=limit, regressor=regressor)
    is_quiet = json_file is not None and str(json_file) == "-"
    remarks = Console(stderr=True) if is_quiet else console
    _write(evaluation, samples, other_curves, json_file, figures, save_predictions)
    if fit_regressor is not None:
        _fit(fit_regressor, evaluation, predicted.records, remarks)
    if submission is not None and server is not None and samples is not None:
        _submit(submission, server, evaluation, len(samples), remarks)
    if not is_quiet:
        print_report(evaluation, console)
    if evaluation.unreadable:
        raise typer.Exit(1)


def _refuse_contradictions(
    weights: str | None,
    predictions: Path | None,
    dataset: str | None,
    root: Path | None,
    submission: Path | None,
    limit: int | None,
    views: tuple[str, str, str],
) -> None:
    if (weights is None) == (predictions is None):
        raise InputError("graphhand evaluate", "needs one of --weights and --predictions", "see --help")
    if dataset is None and root is not None:
        raise InputError("--dataset and --root", "belong together", "give both")
    if weights is not None and dataset is None:
        raise InputError("--weights", "needs images to look at", "add --dataset NAME --root DIR")
    if predictions is not None and views != ("truth", "truth", "final"):
        raise InputError(
            "--crop, --camera and --pose", "say how --weights are run", "leave them out with --predictions"
        )
    if submission is not None and dataset is None:
        raise InputError("--submission", "needs a whole data set", "add --dataset NAME --root DIR")
    if submission is not None and limit is not None:
        raise InputError("--submission", "needs every sample of the split", "leave out --limit")


def _refuse_outputs(outputs: dict[str, Path | None], figures: Path | None, inputs: Iterable[Path | None]) -> None:
    """What could not be written, or is read here, is refused before the long work."""
    read = [path for path in inputs if path is not None]
    for option, path in outputs.items():
        if path is not None:
            refuse_inputs(path, option, read)
            require_folder_of(path, option)
    if figures is not None and figures.exists() and not figures.is_dir():
        raise InputError(figures, "is no folder", "choose another --figures")


def _load_curves(curves: Path | None, figures: Path | None) -> list[Curve]:
    """Other people's curves, read before the long work so that a wrong path fails at once."""
    from graphhand.evaluation import load_curves

    if curves is None:
        return []
    if figures is None:
        raise InputError("--curves", "are drawn into a figure", "add --figures DIR")
    return load_curves(curves)


def _write(
    evaluation: Evaluation,
    samples: HandDataset | None,
    curves: list[Curve],
    json_file: Path | None,
    figures: Path | None,
    save_predictions: Path | None,
) -> None:
    from graphhand.io.files import replacing

    if json_file is not None:
        write_json(json_file, evaluation.to_json())
    if save_predictions is not None:
        with writing(save_predictions, "--save-predictions"), replacing(save_predictions) as temporary:
            evaluation.records.save(temporary)
    if figures is not None and evaluation.scores:
        from graphhand.evaluation.figures import write_figures

        with writing(figures, "--figures"):
            write_figures(figures, evaluation, samples, curves)


def _refuse_test_split(samples: HandDataset | None) -> None:
    """A regressor fitted on the split that results are reported on would flatter them."""
    test_split = getattr(getattr(samples, "info", None), "test_split", "")
    if test_split and getattr(samples, "protocol", {}).get("split") == test_split:
        raise InputError(
            "--fit-regressor", f"{test_split} is the split results are reported on", "fit on another --split"
        )


def _submission_format(chosen: SubmissionFormat | None, samples: HandDataset | None) -> SubmissionFormat:
    """The format asked for, or the data set's own."""
    kind = chosen or getattr(samples, "protocol", {}).get("dataset")
    if kind not in ("freihand", "ho3d", "dexycb"):
        raise InputError("--submission", f"{kind} has no format of its own", "choose with --submission-format")
    return cast("SubmissionFormat", kind)


def _fit(path: Path, evaluation: Evaluation, records: PoseRecords, console: Console) -> None:
    from graphhand.evaluation import fit_joint_regressor

    fitted_on = {**evaluation.data, "model": evaluation.source.get("model", evaluation.source.get("file", ""))}
    try:
        regressor = fit_joint_regressor(records, fitted_on)
    except ValueError as error:
        raise InputError("--fit-regressor", str(error), "give a larger training split") from None
    with writing(path, "--fit-regressor"):
        regressor.save(path)
    console.print(f"joint regressor written to {path}: report it with every number that uses it", highlight=False)


def _submit(path: Path, kind: SubmissionFormat, evaluation: Evaluation, samples: int, console: Console) -> None:
    from graphhand.evaluation.submissions import write_submission

    with writing(path, "--submission"):
        write_submission(path, evaluation.records, kind, evaluation.skipped, samples)
    mesh = "" if kind == "dexycb" else "; vertices are zeros: joint scores count, mesh scores mean nothing"
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
    """Something to call with samples done and samples in all; a bar on the terminal where it is to be shown."""
    from graphhand.cli.outputs import progress_bar

    if not shown:
        yield lambda done, total: None
        return
    with progress_bar() as bar:
        task = bar.add_task("samples", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
