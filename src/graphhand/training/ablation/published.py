"""The numbers of the paper's Tables I-IV: mean 3D joint error in millimetres, protocol not stated there."""

from __future__ import annotations

from typing import NamedTuple


class PaperMm(NamedTuple):
    """A cell of the paper's tables on its two data sets, millimetres."""

    stb: float
    rhd: float


PAPER: dict[str, PaperMm] = {
    "I-base": PaperMm(32.7531, 99.2375),
    "I-len": PaperMm(30.3156, 95.1854),
    "I-dir": PaperMm(27.6512, 89.7623),
    "I-full": PaperMm(24.1534, 83.3669),
    "II-gcn-base": PaperMm(9.1134, 25.9614),
    "II-gcn-len": PaperMm(8.0021, 22.9613),
    "II-gcn-dir": PaperMm(6.9146, 21.6328),
    "II-gcn-full": PaperMm(5.1153, 15.8356),
    "III-gcn-multi-base": PaperMm(5.3456, 15.0731),
    "III-gcn-multi-len": PaperMm(5.0175, 14.7620),
    "III-gcn-multi-dir": PaperMm(4.9980, 14.0072),
    "III-gcn-multi-full": PaperMm(3.9664, 12.4036),
    "II-fc-full": PaperMm(15.1134, 37.5908),
    "III-fc-multi-full": PaperMm(10.2345, 25.1456),
    "III-gcn-single-full": PaperMm(4.5397, 15.0987),
}
"""By the name of our cell (``grid.py``); the controls have no counterpart."""
