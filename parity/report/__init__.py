"""The ways in which a run is shown: terminal, JSON, HTML."""
