"""Faults under load with real processes: what is lost, why, and whether the split is exact afterwards (docs/chaos.md).

`stage` starts a mesh of three endpoints and a load; a scenario (`backends`, `endpoints`, `control`, `workers`,
`resources`) hurts a part of it and heals it; `outcome` judges what the clients saw. `python -m tests.chaos` runs all.
"""
