"""``graphhand bench``: times of a prediction and of training steps, part by part, and sizes of loss gradients."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphhand.cli.outputs import (
    DeviceOption,
    EngineOption,
    ThreadsOption,
    model_files,
    progress_bar,
    refuse_inputs,
    require_folder_of,
    write_json,
)

if TYPE_CHECKING:
    from graphhand.devices import Quartiles
    from graphhand.inference.benchmark import PredictionTimes
    from graphhand.training.benchmark import TrainingTimes
    from graphhand.training.loss_gradients import LossGradients

app = typer.Typer(invoke_without_command=True, add_completion=False)

_Json = Annotated[Path | None, typer.Option("--json", help="Write everything as JSON; '-' prints it.")]
_ProcessorTime = Annotated[
    bool, typer.Option("--processor-time", help="Processor time of one CPU thread, for a busy machine.")
]
_PART_NAMES = {
    "decode": "decode the file",
    "detect": "detect hands",
    "crop": "cut the crop",
    "network": "network",
    "hand_model": "network: hand model module",
    "refinement": "network: refinement",
    "placing": "joints to the image",
    "draw": "draw the result",
}


@app.callback()
def bench(
    context: typer.Context,
    weights: Annotated[str, typer.Option(help="Name of bundled weights, or a path.")] = "default",
    image: Annotated[Path | None, typer.Option(help="Image to predict; without one, a rendered hand.")] = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed predictions.")] = 20,
    processor_time: _ProcessorTime = False,
    json_file: _Json = None,
) -> None:
    """Time a prediction in parts: decode, crop, network, draw; median and quartiles.

    ONNX Runtime runs the network as a whole; --engine torch times its two modules, beside the paper's.

    Example: graphhand bench --threads 2

    Training is timed by: graphhand bench train --config configs/cpu.yaml
    """
    if context.invoked_subcommand is not None:
        return
    from graphhand.inference.benchmark import time_prediction
    from graphhand.training.run_folder import environment_record

    _require_output(json_file, *model_files(weights), image)
    with progress_bar() as bar:
        task = bar.add_task("predicting", total=2 * (repeats + 3))
        times = time_prediction(
            weights, image, device, engine, threads, repeats, lambda: bar.advance(task), processor_time
        )
    if not write_json(json_file, {"prediction": asdict(times), "machine": environment_record()}):
        typer.echo(_prediction_table(times))


@app.command("train")
def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Changes to the recipe, e.g. batch_size=4.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; without one, the paper's.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed steps of each stage.")] = 5,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="Price of this machine, for the cost.")] = None,
    processor_time: _ProcessorTime = False,
    json_file: _Json = None,
) -> None:
    """Time the training steps of a recipe beside its backbones alone; project the paper's 3 x 100 epochs.

    Needs no data: hands are rendered, and the rendering is timed too.

    Example: graphhand bench train --config configs/paper.yaml batch_size=4 device=cpu
    """
    from graphhand.training.benchmark import number_of_calls, time_training
    from graphhand.training.config import load_config
    from graphhand.training.run_folder import environment_record

    _require_output(json_file, config)
    settings = load_config(config, overrides or ())
    with progress_bar() as bar:
        task = bar.add_task("stepping", total=number_of_calls(settings, repeats))
        times = time_training(settings, repeats, 1, lambda: bar.advance(task), processor_time)
    hours = times.projected_hours()
    cost = None if price_per_hour is None else price_per_hour * hours["total"]
    content = {"training": asdict(times), "projected_hours": hours, "projected_cost": cost}
    if not write_json(json_file, content | {"machine": environment_record()}):
        typer.echo(_training_table(times, price_per_hour))


@app.command("losses")
def losses(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Changes to the recipe, e.g. losses.unit=mm.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; without one, the paper's.")] = None,
    critic_steps: Annotated[int, typer.Option(min=0, help="Steps of the trained discriminator.")] = 200,
    json_file: _Json = None,
) -> None:
    """Measure the gradient of each loss term with respect to the pose, at errors of 20 and 5 mm.

    Shows whether a recipe's weights balance. Nothing is trained but a discriminator, to see its term before and after.

    Example: graphhand bench losses --config configs/paper.yaml losses.unit=mm
    """
    from graphhand.training.config import load_config
    from graphhand.training.loss_gradients import ERRORS_MM, measure_loss_gradients
    from graphhand.training.run_folder import environment_record

    _require_output(json_file, config)
    settings = load_config(config, overrides or ())
    with progress_bar() as bar:
        task = bar.add_task("training the discriminator", total=len(ERRORS_MM) * critic_steps)
        found = measure_loss_gradients(settings, critic_steps, lambda: bar.advance(task))
    if not write_json(json_file, {"gradients": asdict(found), "machine": environment_record()}):
        typer.echo(_gradient_table(found))


def _require_output(json_file: Path | None, *inputs: Path | None) -> None:
    """Refuse, before long work, a file that cannot be written or that is read."""
    require_folder_of(json_file)
    refuse_inputs(json_file, "--json", inputs)


def _gradient_table(found: LossGradients) -> str:
    errors = list(found.norms["pose"])
    unit = "millimetres" if found.unit == "mm" else f"the reference bone, {found.unit_mm:.1f} mm on average"
    lines = [
        f"norm of each weighted term's gradient per sample, per metre of the pose; {found.samples} poses",
        f"unit of lengths: {unit}",
        "",
        f"{'':30}{'stages':>12}{'weight':>8}" + "".join(f"{f'{e:g} mm off':>14}{'/ L_pose':>10}" for e in errors),
    ]
    for term, norms in found.norms.items():
        weight = found.weights[term.partition(",")[0]]
        numbers = "".join(f"{norms[e]:>14.4g}{found.ratio(term, e):>10.2g}" for e in errors)
        lines.append(f"{term.replace('_', ' '):30}{found.stages(term):>12}{weight:>8g}{numbers}")
    gaps = ", ".join(f"{found.critic_gap[e]:.3g} at {e:g} mm" for e in errors)
    lines += ["", f"trained critic: {found.critic_steps} steps; mean score of true less that of wrong poses: {gaps}"]
    return "\n".join(lines)


def _prediction_table(times: PredictionTimes) -> str:
    from graphhand.inference.benchmark import PAPER_HARDWARE, PAPER_MS

    network = times.network
    known, search = times.known, times.search
    described = f"{times.model}, engine {times.engine}: {network['image_size']}x{network['image_size']} crops"
    if "backbone" in network:
        plural = "s" if network["backbones"] > 1 else ""
        described += (
            f", {network['backbones']} {network['backbone']} backbone{plural}, width {network['width']}, "
            f"{network['parameters'] / 1e6:.1f} M parameters"
        )
    lines = [
        described,
        f"{times.image[0]}x{times.image[1]} image; {times.device}, {times.threads} CPU threads; "
        f"milliseconds: median (quartiles) of {known.total_ms.repeats}",
        "",
        f"{'':30}{'box and side known':>26}{'nothing known':>26}{'paper*':>9}",
    ]
    for name in known.parts_ms:
        label = _PART_NAMES[name]
        paper = f"{PAPER_MS[name]:9.1f}" if name in PAPER_MS else ""
        lines.append(f"{label:30}{_text(known.parts_ms[name]):>26}{_text(search.parts_ms[name]):>26}{paper}")
    if "network" not in known.parts_ms:
        both = f"{_text(known.network_ms):>26}{_text(search.network_ms):>26}"
        lines.append(f"{'network together':30}{both}{PAPER_MS['network']:9.1f}")
    lines += [
        f"{'everything':30}{_text(known.total_ms):>26}{_text(search.total_ms):>26}",
        f"{'passes of the network':30}{known.passes:>26}{search.passes:>26}",
        "",
        f"* He et al.'s own figures, two ResNet-50s at 224x224 on a {PAPER_HARDWARE}: another machine",
    ]
    return "\n".join(lines)


def _training_table(times: TrainingTimes, price_per_hour: float | None) -> str:
    from graphhand.training.benchmark import (
        BACKBONE_SHARE_TARGET,
        PAPER_EPOCHS,
        RENDERING_SHARE_TARGET,
        RHD_TRAINING_IMAGES,
    )

    hours = times.projected_hours()
    lines = [
        f"{times.device}, {times.precision}, {times.threads} CPU threads, batches of {times.batch_size}; "
        f"median (quartiles) of {times.rendering_s.repeats}",
        "",
        f"{'stage':7}{'step, ms':>24}{'backbones alone, ms':>24}{'of their speed':>22}{'crops/s':>9}{'peak GiB':>10}",
    ]
    for name, stage in times.stages.items():
        peak = "unknown" if stage.peak_bytes is None else f"{stage.peak_bytes / 2**30:.2f}"
        lines.append(
            f"{name:7}{_text(stage.step_s.scaled(1e3)):>24}{_text(stage.backbones_s.scaled(1e3)):>24}"
            f"{_text(stage.backbone_share, 2):>22}{stage.samples_per_second:>9.1f}{peak:>10}"
        )
    last = list(times.stages)[-1]
    lines += [
        f"(target: stage III at {BACKBONE_SHARE_TARGET:.2f} of its backbones' speed or better)",
        "",
        f"rendering one batch: {_text(times.rendering_s.scaled(1e3))} ms, "
        f"{times.rendering_share:.0%} of a stage-{last} step "
        f"(target on a GPU: under {RENDERING_SHARE_TARGET:.0%}; on a CPU worker processes render)",
        f"{len(times.stages)} x {PAPER_EPOCHS} epochs of RHD's {RHD_TRAINING_IMAGES:,} images, steps alone: "
        + ", ".join(f"{name} {value:.1f} h" for name, value in hours.items()),
    ]
    if price_per_hour is not None:
        lines.append(f"cost at {price_per_hour:g} an hour: {price_per_hour * hours['total']:.2f}")
    return "\n".join(lines)


def _text(quartiles: Quartiles, digits: int = 1) -> str:
    return format(quartiles, f".{digits}f")
