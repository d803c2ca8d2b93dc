"""Write a data set's labels in another joint definition, as data sets differ from each other.

python research/benchmarks/other_definitions.py data/drawn9/usable data/drawn9/other

reads hands.jsonl of the first folder and writes it to the second, beside the first, so image paths stay valid. Every
new joint is a fixed affine combination of two old ones. The hand model cannot represent them, so only a refinement can.
The displacements are as large as those between data sets (docs/protocols.md), not those of any one set.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graphhand.io.files import write_text_atomically
from graphhand.skeleton import FINGERS, NUM_JOINTS, Joint

WRIST_BACK = 0.15  # of wrist to middle knuckle, towards the forearm: about 13 mm
KNUCKLES_BACK = 0.1  # of knuckle to wrist, towards it: about 9 mm
THUMB_FORWARD = 0.3  # of the thumb's first bone, its base towards its knuckle: about 12 mm
TIPS_BACK = 0.2  # of the last bone, towards its beginning: about 5 mm


def definitions() -> npt.NDArray[np.float64]:
    """W (21, 21): the new joints of the old ones; rows sum to 1."""
    W = np.eye(NUM_JOINTS)

    def move(joint: int, towards: int, part: float) -> None:
        W[joint, joint] -= part
        W[joint, towards] += part

    move(Joint.WRIST, Joint.MIDDLE_MCP, -WRIST_BACK)
    for finger, (base, following, last, tip) in FINGERS.items():
        if finger == "thumb":
            move(base, following, THUMB_FORWARD)
        else:
            move(base, Joint.WRIST, KNUCKLES_BACK)
        move(tip, last, TIPS_BACK)
    return W


def main(source: Path, target: Path) -> None:
    if source.parent.resolve() != target.parent.resolve():
        sys.exit(f"{target}: not beside {source}, so its images would not be found; give {source.parent}/NAME")
    W, lines = definitions(), []
    for text in (source / "hands.jsonl").read_text("utf-8").splitlines():
        line = json.loads(text)
        del line["joints_px"]  # the loader projects the others
        line["joints_cam_m"] = (W @ np.array(line["joints_cam_m"])).tolist()
        lines.append(json.dumps(line))
    target.mkdir(exist_ok=True)
    write_text_atomically(target / "hands.jsonl", "\n".join(lines) + "\n")
    print(f"{target}: {len(lines)} hands")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
