"""The table of a study of factors: means over seeds, each variant against the first one, and rank correlations."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student

from afdctl.formatting import format_epsilon, format_range
from afdctl.runs.paired import format_p, mcnemar

if TYPE_CHECKING:
    from benchmarks.factors import Study, Training

# columns of the attacks that a study may have
ATTACKS: Final = {"apgd_t": "APGD-T", "square": "Square", "aa": "AutoAttack"}
# what a training could be selected by, to be ranked against AutoAttack
MEASUREMENTS: Final = {
    "holdout_apgd_ce": ("hold-out", "APGD-CE"),
    "probe": ("hold-out", "probe"),
    "pgd": ("test", "PGD-40"),
    "square": ("test", "Square"),
    "apgd_t": ("test", "APGD-T"),
}
# of fewer checkpoints a rank correlation says little
ENOUGH_CHECKPOINTS: Final = 12

Result = Mapping[str, Any]


def table(study: "Study", planned: "Iterable[Training]", results: Mapping[str, Result]) -> str:
    """Format the results as Markdown."""
    variants: dict[str, list[Result]] = {}
    # rows in the order of the study, not of the results
    for training in planned:
        if training.key in results:
            variants.setdefault(training.variant, []).append(results[training.key])
    columns = {"clean": "clean", "pgd": "PGD-40"} | {name: ATTACKS[name] for name in study.attacks}
    # the worst case over one attack is that attack
    columns |= {"worst": "worst case"} if len(study.attacks) > 1 else {}
    lines = [
        f"# {study.title}",
        "",
        study.about.strip(),
        "",
        f"| variant | seeds | {' | '.join(columns.values())} | against the first | each seed (p) |",
        f"|---|---|{'---|' * (len(columns) + 2)}",
    ]
    base = {result["seed"]: result for result in variants.get(study.variant[0].name, [])}
    for name, rows in variants.items():
        cells = [format_mean([100 * result[column] for result in rows]) for column in columns]
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} | {against(rows, base)} |")
    n = format_range(result["n"] for rows in variants.values() for result in rows) if variants else "0"
    lines += [
        "",
        f"Accuracies in percent at ε = {format_epsilon(study.epsilon)}, mean ± standard deviation of seeds, at the "
        f"{study.checkpoint} checkpoint. PGD-40 is on the whole test split, clean and the attacks beside it are on "
        f"{n} test images. The last two columns are the difference of the worst case to the first row in points, over "
        "the seeds that both rows have: the mean, from three seeds on with its 95 % interval over seeds (Student's t), "
        "and that of each seed with the p of McNemar's exact test on the same images. This p compares two networks, "
        "not two methods. Neither is corrected for the number of rows.",
        "",
        *selection_lines([row for rows in variants.values() for row in rows]),
    ]
    return "\n".join(lines)


def selection_lines(rows: Sequence[Result]) -> list[str]:
    """Format how well cheaper measurements rank the checkpoints of a study: Spearman's rho with AutoAttack."""
    if len(rows) < ENOUGH_CHECKPOINTS or any("aa" not in row for row in rows):
        return []
    probed = [row for row in rows if row["probe"] is not None]
    lines = ["| on | measurement | checkpoints | Spearman's rho with AutoAttack |", "|---|---|---|---|"]
    for column, (images, name) in MEASUREMENTS.items():
        if any(column not in row for row in rows):
            continue
        ranked = probed if column == "probe" else rows
        rho = spearmanr([row[column] for row in ranked], [row["aa"] for row in ranked]).statistic
        lines.append(f"| {images} | {name} | {len(ranked)} | {minus(rho, '.2f')} |")
    return [*lines, ""]


def format_mean(values: Sequence[float]) -> str:
    """Format `82.3 ± 0.4`, or one value alone."""
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def against(rows: Sequence[Result], base: Mapping[int, Result]) -> str:
    """Compare a variant with the first one on the seeds that both have: `+1.5 | −0.1 (1), +3.0 (< 0.0001)`.

    From three seeds on the mean has its 95 % interval, `+1.2 ± 4.0`; two say too little about their spread.
    """
    pairs = [(result, base[result["seed"]]) for result in rows if result["seed"] in base]
    if not pairs or all(result is first for result, first in pairs):
        return " | "
    differences, texts = [], []
    for pair in pairs:
        ours, theirs = map(unpack, pair)
        differences.append(100 * float(ours.mean() - theirs.mean()))
        p = mcnemar(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
        texts.append(f"{minus(differences[-1], '+.1f')} ({format_p(p).removeprefix('p ').removeprefix('= ')})")
    mean = minus(fmean(differences), "+.1f")
    if len(pairs) > 2:
        mean += f" ± {student.ppf(0.975, len(pairs) - 1) * stdev(differences) / len(pairs) ** 0.5:.1f}"
    return f"{mean} | {', '.join(texts)}"


def minus(value: float, spec: str) -> str:
    """Format a number with the minus sign of text, not a hyphen."""
    return format(value, spec).replace("-", "−")


def unpack(result: Result) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return which images of a result stay robust, (n,)."""
    bits = np.frombuffer(bytes.fromhex(result["robust"]), dtype=np.uint8)
    return np.unpackbits(bits, count=result["n"]).astype(bool)
