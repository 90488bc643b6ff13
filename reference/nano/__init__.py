"""A CosyVoice2 of some eight million parameters that speaks a small vocabulary: the recipe, from nothing.

`python -m reference.nano STAGE --work DIR` trains one stage, or goes on where it was stopped. The data are spoken by
Debian's `flite`; every network is the one of `reference`, with other sizes (`nano.json`).
"""
