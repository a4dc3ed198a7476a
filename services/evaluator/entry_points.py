"""What the service has its worker processes do.

The functions import the numerical code when they are called, which is in a worker: the service itself
stays small and compiles nothing.
"""

from __future__ import annotations

from services.evaluator import tasks


def start_builder() -> None:
    """Makes a worker ready to build."""
    from services.evaluator.computing import building, imaging

    building.start()
    imaging.start()


def build(task: tasks.BuildTask) -> int:
    """Runs in a builder; see `building.build`."""
    from services.evaluator.computing import building

    return building.build(task)


def start_scorer(threads: int) -> None:
    """Makes a worker ready to score."""
    from services.evaluator.computing import scoring

    scoring.start(threads)


def expand(task: tasks.ExpandTask) -> float:
    """Runs in the scorer; see `scoring.expand`."""
    from services.evaluator.computing import scoring

    return scoring.expand(task)


def open_segments(paths: tuple[str, ...]) -> None:
    """Runs in the scorer; see `scoring.open_segments`."""
    from services.evaluator.computing import scoring

    scoring.open_segments(paths)


def forget_segments(paths: tuple[str, ...]) -> None:
    """Runs in the scorer; see `scoring.forget_segments`."""
    from services.evaluator.computing import scoring

    scoring.forget_segments(paths)


def score(task: tasks.ScoreTask) -> float:
    """Runs in the scorer; see `scoring.score`."""
    from services.evaluator.computing import scoring

    return scoring.score(task)


def compare(task: tasks.CompareTask) -> tuple[bytes, float]:
    """Runs in the scorer; see `scoring.compare`."""
    from services.evaluator.computing import scoring

    return scoring.compare(task)


def arrange(task: tasks.ArrangeTask) -> float:
    """Runs in the scorer; see `scoring.arrange`."""
    from services.evaluator.computing import scoring

    return scoring.arrange(task)


def cross(task: tasks.CrossTask) -> float:
    """Runs in the scorer; see `scoring.cross`."""
    from services.evaluator.computing import scoring

    return scoring.cross(task)


def combine(task: tasks.CombineTask) -> tuple[bytes, float]:
    """Runs in a builder; see `combining.combine`."""
    from services.evaluator.computing.additive import sums as combining

    return combining.combine(task)


def fold(task: tasks.FoldTask) -> tuple[bytes, float]:
    """Runs in a builder; see `weighing.fold`."""
    from services.evaluator.computing.additive import inner_products as weighing

    return weighing.fold(task)


def weigh(task: tasks.WeighTask) -> tuple[tuple[bytes, ...], float]:
    """Runs in a builder; see `weighing.weigh`."""
    from services.evaluator.computing.additive import inner_products as weighing

    return weighing.weigh(task)


def transform(task: tasks.TransformTask) -> tasks.PlaneWork:
    """Runs in a builder; see `imaging.transform`."""
    from services.evaluator.computing import imaging

    return imaging.transform(task)


def subtract(task: tasks.DifferenceTask) -> tasks.PlaneWork:
    """Runs in a builder; see `imaging.subtract`."""
    from services.evaluator.computing import imaging

    return imaging.subtract(task)


def check_numbers(task: tasks.NumbersTask) -> float:
    """Runs in a builder; see `weighted.check_numbers`."""
    from services.evaluator.computing.additive import windows as weighted

    return weighted.check_numbers(task)


def windows(task: tasks.WindowTask) -> tuple[bytes, float]:
    """Runs in a builder; see `weighted.windows`."""
    from services.evaluator.computing.additive import windows as weighted

    return weighted.windows(task)


def ready() -> None:
    """Does nothing, in a worker that has started."""
