"""The paper's claims and tables beside ours."""
