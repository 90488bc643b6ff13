"""Tables of English words."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.tables import names, words

SIGNS = words(
    """
    point=point; dot=dot; minus=minus; plus=plus; to=to; over=over; and=and; at=at; slash=slash; backslash=backslash
    dash=dash; underscore=underscore; colon=colon; question=question mark; hash=hash; tilde=tilde; percent=percent
    equals=equals; times=times; by=by; divided=divided by; less=is less than; greater=is greater than
    less_equal=is at most; greater_equal=is at least; not_equal=is not equal to; approximately=is about; about=about
    plusminus=plus or minus; root=the square root of; squared=squared; cubed=cubed; power=to the power of; fold=times
    version=version; always=twenty-four seven
    """
)

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

UNITS = names(
    """
    km=kilometer; m=meter; cm=centimeter; mm=millimeter; \u00b5m=micrometer; \u03bcm=micrometer; nm=nanometer; mi=mile
    yd=yard; ft=foot|feet; km\u00b2=square kilometer; m\u00b2=square meter; cm\u00b2=square centimeter
    mm\u00b2=square millimeter; ft\u00b2=square foot|square feet; sq ft=square foot|square feet; m\u00b3=cubic meter
    cm\u00b3=cubic centimeter; ha=hectare; kg=kilogram; g=gram; mg=milligram; \u00b5g=microgram; t=ton; lb=pound
    lbs=pound; oz=ounce; l=liter; L=liter; ml=milliliter; mL=milliliter; cl=centiliter; dl=deciliter
    km/h=kilometer per hour|kilometers per hour; kmh=kilometer per hour|kilometers per hour
    m/s=meter per second|meters per second; mph=mile per hour|miles per hour; \u00b0C=degree Celsius|degrees Celsius
    \u00b0F=degree Fahrenheit|degrees Fahrenheit; \u00b0=degree; h=hour; hr=hour; hrs=hour; min=minute; mins=minute
    sec=second; secs=second; s=second; ms=millisecond; \u00b5s=microsecond; ns=nanosecond; Hz=hertz|hertz
    kHz=kilohertz|kilohertz; MHz=megahertz|megahertz; GHz=gigahertz|gigahertz; W=watt; kW=kilowatt; MW=megawatt
    GW=gigawatt; kWh=kilowatt hour; Wh=watt hour; V=volt; kV=kilovolt; mA=milliamp; mAh=milliamp hour; \u03a9=ohm
    k\u03a9=kiloohm; dB=decibel; Pa=pascal; hPa=hectopascal; kPa=kilopascal; psi=P S I|P S I; kJ=kilojoule
    cal=calorie; kcal=kilocalorie; KB=kilobyte; kB=kilobyte; MB=megabyte; GB=gigabyte; TB=terabyte; PB=petabyte
    GiB=gibibyte; MiB=mebibyte; kbps=kilobit per second|kilobits per second
    Mbps=megabit per second|megabits per second; Gbps=gigabit per second|gigabits per second
    MB/s=megabyte per second|megabytes per second; GB/s=gigabyte per second|gigabytes per second
    fps=frame per second|frames per second; rpm=R P M|R P M; bpm=B P M|B P M; px=pixel; dpi=D P I|D P I
    %=percent|percent; \u2030=per mille|per mille; \u00a2=cent; yrs=year; tsp=teaspoon; tbsp=tablespoon; pt=pint
    gal=gallon; mm Hg=millimeter of mercury|millimeters of mercury; g/l=gram per liter|grams per liter
    mg/l=milligram per liter|milligrams per liter; kg/m\u00b3=kilogram per cubic meter|kilograms per cubic meter
    """,
    plural="s",
)

CURRENCIES = names(
    """
    USD=dollar; AUD=Australian dollar; CAD=Canadian dollar; HKD=Hong Kong dollar; TWD=Taiwan dollar
    SGD=Singapore dollar; BRL=real|reais; EUR=euro; GBP=pound; JPY=yen|yen; \u00a5=yen|yen; CNY=yuan|yuan
    CHF=Swiss franc; KRW=won|won; INR=rupee; RUB=ruble
    """,
    plural="s",
)
CENTS = {**dict.fromkeys(("USD", "AUD", "CAD", "HKD", "SGD", "EUR"), ("cent", "cents")), "GBP": ("penny", "pence")}
SCALES = words(
    """
    k=thousand; K=thousand; thousand=thousand; m=million; M=million; mn=million; mln=million; million=million
    B=billion; bn=billion; bln=billion; billion=billion; T=trillion; tn=trillion; trillion=trillion
    """
)

_PER = re.compile(
    r"(?<=[a-z])\s?/\s?(?=(?:month|mo|year|yr|day|week|wk|hour|hr|h|night|minute|min|second|sec|s|person|user|kg|"
    r"km|mile|unit|"
    r"item|piece|token|l|kWh)\b)"
)
_PER_WORDS = re.compile(r"(?<=\bper )(mo|yr|wk|hr|h|min|sec|s|kg|km|l|kWh)\b")
_LONG = words(
    """
    mo=month; yr=year; wk=week; hr=hour; h=hour; min=minute; sec=second; s=second; kg=kilogram; km=kilometer; l=liter
    kWh=kilowatt hour
    """
)
GREEK = words(
    "\u03b1=alpha; \u03b2=beta; \u03b3=gamma; \u03b4=delta; \u0394=delta; \u03b5=epsilon; \u03b8=theta; \u03bb=lambda; "
    "\u03c0=pi; \u03c3=sigma; \u03a3=sigma; \u03c6=phi; \u03c9=omega; \u221e=infinity"
)
_GREEK = re.compile(f"(?<!\\w)[{''.join(GREEK)}](?!\\w)")
_AND = re.compile(r"\s?&\s?(?=\w)|(?<=\w)\s?&")
_SLASH = re.compile(r"(?<=[A-Za-z])/(?=[A-Za-z])")
_LANGUAGE_NAMES = (
    (re.compile(r"(?<![A-Za-z])([CFJ])#"), r"\1 sharp"),
    (re.compile(r"(?<![A-Za-z])([A-Za-z])\+\+"), r"\1 plus plus"),
)
_NUMBERED = re.compile(r"(?<![\w&])#(?=\d)")
_TAGGED = re.compile(r"(?<![\w&])#(?=\w)")
_MENTION = re.compile(r"(?<![\w.])@\s?(?=\w)")
_PLUS_AFTER = re.compile(r"(?<=\w)\+(?=[\s.,;:!?)]|$)")


def before_numbers(text: str) -> str:
    """Signs that stand by digits."""
    for pattern, name in _LANGUAGE_NAMES:
        text = pattern.sub(name, text)
    text = _GREEK.sub(lambda found: GREEK[found[0]], text)
    return _TAGGED.sub("hashtag ", _NUMBERED.sub("number ", text))


def tidy(text: str) -> str:
    """Signs between words."""
    text = _PER_WORDS.sub(lambda found: _LONG[found[1]], _PER.sub(" per ", text))
    text = _MENTION.sub("at ", _AND.sub(" and ", text))
    return _PLUS_AFTER.sub(" plus", _SLASH.sub(" ", text))
