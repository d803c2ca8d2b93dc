"""The paper's Tables I-IV as a grid of training runs: declared, trained, scored and tabulated."""
