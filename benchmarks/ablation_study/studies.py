"""The studies of the ablation: which rows are trained on which rooms, and which differences are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablation_study.rooms import Plan, RoomData, prepare, with_channels, with_targets_of
from ablation_study.rows import ROWS, Row, WholeNetwork
from ablation_study.runs import Case, Course, Rooms
from ablation_study.teachers import SimulatedTeacher
from geoguide3d.backbones.room_net.backbone import RoomNet

WET = ("kitchen", "kitchen diner", "bathroom", "angled bathroom", "bathroom with bath in the middle")
DRY = ("bedroom", "living room", "office", "student room", "angled living room", "angled reading room")
SPARSE = 0.5


@dataclass(frozen=True)
class Setting:
    """What all studies share.

    Args:
        plan: which rooms.
        steps: of every training.
        points: of a step, shared by its rooms.
        scenes: rooms of a step.
        folder: keeps rooms and runs.
        workers: processes.
    """

    plan: Plan
    steps: int
    points: int
    scenes: int
    folder: Path
    workers: int

    def rooms(self, plan: Plan | None = None, with_voxels: bool = False) -> dict[str, list[RoomData]]:
        """Returns the rooms of a plan, by default of this setting's."""
        return prepare(self.folder / "rooms", plan or self.plan, self.workers, with_voxels)

    def case(self, row: Row, rooms: Rooms, told: str = "", plan: Plan | None = None) -> Case:
        """Returns a row on rooms.

        Args:
            told: tells these rooms from others of the plan.
        """
        key = (plan or self.plan).key
        return Case(row, rooms, Course(self.steps, self.points, self.scenes, f"{key}; {told}" if told else key))


@dataclass(frozen=True)
class Study:
    """A table of its own.

    Args:
        title: of the table.
        cases: by name of the row.
        compared: pairs of rows whose difference is told.
        note: what a reader must know of the rows.
    """

    title: str
    cases: Mapping[str, Case]
    compared: Sequence[tuple[str, str]]
    note: str = ""


def losses(setting: Setting) -> Study:
    """Returns the main study: what each loss brings."""
    rooms = setting.rooms()
    controls = ("control: full, IIRC on shuffled geometry", "control: full, IMR on shuffled masks")
    compared = [
        ("full", "plain"),
        ("full", "plain, centred"),
        ("full", "superpoints, centred"),
        *(("full", f"full - {name}") for name in ("USD", "IMR", "IIRC")),
        *(("full", control) for control in controls),
        ("full", "full, whole superpoints drawn"),
        ("full, paper", "plain"),
        ("superpoints (SAS)", "plain"),
    ]
    return Study("What each loss brings", {name: setting.case(row, rooms) for name, row in ROWS.items()}, compared)


def masks(setting: Setting) -> Study:
    """Returns full on masks of several kinds."""
    rooms, full = setting.rooms(with_voxels=True), ROWS["full"]
    sources = {"none": None, "of the proposer": "proposer"}
    sources |= {name: name for name in ("ground truth", "over-segmented", "under-segmented")}
    cases = {
        f"full, masks {name}": setting.case(replace(full, masks=source), rooms) for name, source in sources.items()
    }
    others = [name for name in cases if name != "full, masks none"]
    note = (
        "Over-segmented: every superpoint of at least 10 points is a mask. Under-segmented: wall, floor and ceiling "
        "are one mask, other true instances are united by two, the nearest first. Without masks IMR is left out, and "
        "IIRC compares superpoints alone."
    )
    return Study("Masks", cases, [(name, "full, masks none") for name in others], note)


def superpoints(setting: Setting) -> Study:
    """Returns full on superpoints of several kinds."""
    rooms, full = setting.rooms(), ROWS["full"]
    kinds = ("standard", "over-segmented", "under-segmented", "ground truth")
    cases = {f"full, superpoints {kind}": setting.case(replace(full, superpoints=kind), rooms) for kind in kinds}
    compared = [(name, "full, superpoints standard") for name in list(cases)[1:]]
    return Study("Superpoints", cases, compared, "The masks are those proposed from the standard ones in all rows.")


def styles(setting: Setting) -> Study:
    """Returns plain and full, trained on one kind of room and judged on another, and judged on sparser clouds."""
    rooms = setting.rooms()
    sparser = replace(setting.plan, train=0, validation=0, density=SPARSE)
    sparse = {**rooms, "test": setting.rooms(sparser)["test"]}
    cases, compared = {}, []
    for name in ("plain", "full"):
        for kind, learned in (("wet", WET), ("dry", DRY)):
            cases[f"{name}, {kind} to dry"] = setting.case(ROWS[name], _split_by_kind(rooms, learned), f"{kind} to dry")
        cases[f"{name}, judged on all clouds"] = setting.case(ROWS[name], rooms)
        cases[f"{name}, judged on sparser clouds"] = setting.case(ROWS[name], sparse, f"test density {SPARSE}")
        compared.append((f"{name}, wet to dry", f"{name}, dry to dry"))
        compared.append((f"{name}, judged on sparser clouds", f"{name}, judged on all clouds"))
    ways = ("wet to dry", "dry to dry", "judged on sparser clouds")
    note = (
        "Wet rooms are kitchens and bathrooms, dry ones all others but studios; either learns from as many rooms, and "
        f"both are judged in dry ones. Sparser clouds keep {SPARSE:.0%} of their points before features are computed."
    )
    return Study("Styles and densities", cases, [*((f"full, {way}", f"plain, {way}") for way in ways), *compared], note)


def backbones(setting: Setting) -> Study:
    """Returns plain and full on RoomNet's features with the descriptors beside them, and on either alone."""
    rooms, learned = setting.rooms(), RoomNet.load().channels
    parts = {"both": slice(None), "RoomNet": slice(learned), "descriptors": slice(learned, None)}
    seen = {part: with_channels(rooms, channels) if part != "both" else rooms for part, channels in parts.items()}
    cases = {
        f"{name}, {part}": setting.case(ROWS[name], seen[part], "" if part == "both" else f"features of {part}")
        for name in ("plain", "full")
        for part in parts
    }
    compared = [
        (f"{name}, both", f"{name}, {part}") for name in ("plain", "full") for part in ("RoomNet", "descriptors")
    ]
    compared += [(f"full, {part}", f"plain, {part}") for part in parts]
    return Study("Frozen features", cases, compared)


def network(setting: Setting) -> Study:
    """Returns frozen features with an adapter beside the whole network, trained."""
    rooms = setting.rooms(with_voxels=True)
    cases, compared = {}, []
    for name in ("plain", "full"):
        row = ROWS[name]
        cases[f"frozen features, {name}"] = setting.case(row, rooms)
        whole = WholeNetwork(row.settings, row.superpoints, row.masks)
        cases[f"whole network, {name}"] = setting.case(whole, rooms)
        cases[f"whole network from RoomNet's weights, {name}"] = setting.case(replace(whole, start="room_net"), rooms)
        compared.append((f"frozen features, {name}", f"whole network, {name}"))
        compared.append((f"frozen features, {name}", f"whole network from RoomNet's weights, {name}"))
    compared.append(("whole network, full", "whole network, plain"))
    note = (
        "The whole network is RoomNet's sparse U-Net on all voxels of a cloud that is not thinned, with the adapter "
        "behind it, from random weights or its own; a step is one whole room, turned and mirrored, and the loss is "
        "taken at all kept points. IIRC compares with the same frozen features in all rows."
    )
    return Study("The whole network trained", cases, compared, note)


def simulated(setting: Setting, strengths: Sequence[float]) -> Study:
    """Returns plain and full under a teacher whose errors are of these strengths."""
    rooms, cases = setting.rooms(), {}
    for strength in strengths:
        plan = replace(setting.plan, teacher=SimulatedTeacher(strength))
        taught = with_targets_of(rooms, setting.rooms(plan))
        for name in ("plain", "full"):
            cases[at_strength(name, strength)] = setting.case(ROWS[name], taught, plan=plan)
    compared = [(at_strength("full", strength), at_strength("plain", strength)) for strength in strengths]
    return Study("A teacher with controlled error", cases, compared)


def at_strength(name: str, strength: float) -> str:
    """Returns the name of a row under a teacher of that strength."""
    return f"{name}, strength {strength:g}"


def _split_by_kind(rooms: Rooms, learned: Sequence[str]) -> dict[str, list[RoomData]]:
    """Returns rooms of one kind to learn from and choose by, and dry ones to be judged; as many of either kind.

    Raises:
        ValueError: no room of a kind.
    """
    chosen = {}
    for split, kinds in (("train", learned), ("validation", learned), ("test", DRY)):
        fewest = min(sum(room.kind in some for room in rooms[split]) for some in (WET, DRY))
        found = [room for room in rooms[split] if room.kind in kinds]
        chosen[split] = found if split == "test" else found[:fewest]
        if not chosen[split]:
            raise ValueError(f"no {split} rooms of the kinds {', '.join(kinds)}; take more --{split}")
    return chosen


STUDIES: Mapping[str, Callable[[Setting], Study]] = {
    "losses": losses,
    "masks": masks,
    "superpoints": superpoints,
    "styles": styles,
    "backbones": backbones,
    "network": network,
}
