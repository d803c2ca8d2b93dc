"""The paper's Tables I-IV as a grid of runs that share their beginnings: declared, trained, scored and tabulated."""
