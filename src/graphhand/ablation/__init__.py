"""The paper's Tables I-V as a grid of training runs: declared, trained, scored and tabulated."""
