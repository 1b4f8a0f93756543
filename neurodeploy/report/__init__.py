"""The report: what a run found, as one self-contained HTML page and as figures for a paper."""
