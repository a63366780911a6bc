"""Prefect's flow runs, as far as we must mend them."""
