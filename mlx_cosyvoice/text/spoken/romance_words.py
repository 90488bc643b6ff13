"""Tables of French, Spanish, Italian and Portuguese words."""

from __future__ import annotations

from mlx_cosyvoice.text.spoken.tables import names, words

PARTS = {
    "fr": {2: ("demi", "demis"), 3: ("tiers", "tiers"), 4: ("quart", "quarts")},
    "es": {2: ("medio", "medios"), 3: ("tercio", "tercios"), 4: ("cuarto", "cuartos")},
    "it": {2: ("mezzo", "mezzi"), 3: ("terzo", "terzi"), 4: ("quarto", "quarti"), 5: ("quinto", "quinti")},
    "pt": {2: ("meio", "meios"), 3: ("terço", "terços"), 4: ("quarto", "quartos")},
}
#: Between millions and the currency.
OF_MILLIONS = {"fr": "de", "es": "de", "it": "di", "pt": "de"}
#: Between a currency and its hundredths.
CENTS_AFTER = {"fr": "", "es": "con", "it": "e", "pt": "e"}
#: Between hours and minutes.
MINUTES_AFTER = {"fr": "heures", "es": "y", "it": "e", "pt": "e"}
HALVES = {
    "fr": {"am": "du matin", "pm": "de l'après-midi"}, "es": {"am": "de la mañana", "pm": "de la tarde"},
    "it": {"am": "di mattina", "pm": "di pomeriggio"}, "pt": {"am": "da manhã", "pm": "da tarde"},
}  # fmt: skip

FRENCH_SIGNS = words(
    """
    point=virgule; dot=point; minus=moins; plus=plus; to=à; over=sur; and=et; at=arobase; slash=slash
    backslash=antislash; dash=tiret; underscore=tiret bas; colon=deux-points; question=point d'interrogation
    hash=dièse; tilde=tilde; equals=égale; times=fois; by=par; divided=divisé par; less=inférieur à
    greater=supérieur à; about=environ; approximately=environ; plusminus=plus ou moins; root=racine de
    squared=au carré; cubed=au cube; power=puissance; fold=fois; version=version
    always=vingt-quatre heures sur vingt-quatre, sept jours sur sept; percent=pour cent
    """
)
FRENCH_UNITS = names(
    """
    km=kilomètre|kilomètres; m=mètre|mètres; cm=centimètre|centimètres; mm=millimètre|millimètres
    km²=kilomètre carré|kilomètres carrés; m²=mètre carré|mètres carrés; m³=mètre cube|mètres cubes
    ha=hectare|hectares; kg=kilogramme|kilogrammes; g=gramme|grammes; mg=milligramme|milligrammes; t=tonne|tonnes
    l=litre|litres; L=litre|litres; ml=millilitre|millilitres; cl=centilitre|centilitres
    km/h=kilomètre heure|kilomètres heure; °C=degré Celsius|degrés Celsius; °=degré|degrés; min=minute|minutes
    s=seconde|secondes; Hz=hertz; kHz=kilohertz; MHz=mégahertz; GHz=gigahertz; W=watt|watts; kW=kilowatt|kilowatts
    kWh=kilowattheure|kilowattheures; V=volt|volts; dB=décibel|décibels; kcal=kilocalorie|kilocalories
    Ko=kilooctet|kilooctets; Mo=mégaoctet|mégaoctets; Go=gigaoctet|gigaoctets; To=téraoctet|téraoctets
    MB=mégaoctet|mégaoctets; GB=gigaoctet|gigaoctets; %=pour cent; ‰=pour mille
    """
)
FRENCH_CURRENCIES = names(
    "EUR=euro|euros; USD=dollar|dollars; GBP=livre|livres; CHF=franc suisse|francs suisses; ¥=yen|yens; JPY=yen|yens"
)
FRENCH_SCALES = words(
    "millions=millions; million=million; milliards=milliards; milliard=milliard; M=millions; Md=milliards; "
    "Mds=milliards"
)

SPANISH_SIGNS = words(
    """
    point=coma; dot=punto; minus=menos; plus=más; to=a; over=sobre; and=y; at=arroba; slash=barra
    backslash=barra invertida; dash=guion; underscore=guion bajo; colon=dos puntos; question=interrogación
    hash=almohadilla; tilde=virgulilla; equals=es igual a; times=por; by=por; divided=entre; less=menor que
    greater=mayor que; about=unos; approximately=aproximadamente; plusminus=más o menos; root=raíz de
    squared=al cuadrado; cubed=al cubo; power=elevado a; fold=veces; version=versión; always=las veinticuatro horas
    percent=por ciento
    """
)
SPANISH_UNITS = names(
    """
    km=kilómetro|kilómetros; m=metro|metros; cm=centímetro|centímetros; mm=milímetro|milímetros
    km²=kilómetro cuadrado|kilómetros cuadrados; m²=metro cuadrado|metros cuadrados; m³=metro cúbico|metros cúbicos
    ha=hectárea|hectáreas; kg=kilo|kilos; g=gramo|gramos; mg=miligramo|miligramos; t=tonelada|toneladas
    l=litro|litros; L=litro|litros; ml=mililitro|mililitros; km/h=kilómetro por hora|kilómetros por hora
    °C=grado Celsius|grados Celsius; °=grado|grados; h=hora|horas; min=minuto|minutos; s=segundo|segundos
    Hz=hercio|hercios; kHz=kilohercio|kilohercios; MHz=megahercio|megahercios; GHz=gigahercio|gigahercios
    W=vatio|vatios; kW=kilovatio|kilovatios; kWh=kilovatio hora|kilovatios hora; V=voltio|voltios
    MB=megabyte|megabytes; GB=gigabyte|gigabytes; TB=terabyte|terabytes; %=por ciento; ‰=por mil
    """
)
SPANISH_CURRENCIES = names(
    "EUR=euro|euros; USD=dólar|dólares; GBP=libra|libras; ¥=yen|yenes; JPY=yen|yenes; CHF=franco suizo|francos suizos"
)
SPANISH_SCALES = words("millones=millones; millón=millón; M=millones; mil=mil")

ITALIAN_SIGNS = words(
    """
    point=virgola; dot=punto; minus=meno; plus=più; to=a; over=su; and=e; at=chiocciola; slash=barra
    backslash=barra rovesciata; dash=trattino; underscore=trattino basso; colon=due punti
    question=punto interrogativo; hash=cancelletto; tilde=tilde; equals=uguale a; times=per; by=per; divided=diviso
    less=minore di; greater=maggiore di; about=circa; approximately=circa; plusminus=più o meno; root=radice di
    squared=al quadrato; cubed=al cubo; power=alla; fold=volte; version=versione
    always=ventiquattro ore su ventiquattro; percent=per cento
    """
)
ITALIAN_UNITS = names(
    """
    km=chilometro|chilometri; m=metro|metri; cm=centimetro|centimetri; mm=millimetro|millimetri
    km²=chilometro quadrato|chilometri quadrati; m²=metro quadrato|metri quadrati; mq=metro quadrato|metri quadrati
    m³=metro cubo|metri cubi; ha=ettaro|ettari; kg=chilo|chili; g=grammo|grammi; mg=milligrammo|milligrammi
    t=tonnellata|tonnellate; l=litro|litri; L=litro|litri; ml=millilitro|millilitri
    km/h=chilometro orario|chilometri orari; °C=grado Celsius|gradi Celsius; °=grado|gradi; h=ora|ore
    min=minuto|minuti; s=secondo|secondi; Hz=hertz; kHz=kilohertz; MHz=megahertz; GHz=gigahertz; W=watt; kW=chilowatt
    kWh=chilowattora; V=volt; MB=megabyte; GB=gigabyte; TB=terabyte; %=per cento; ‰=per mille
    """
)
ITALIAN_CURRENCIES = names(
    "EUR=euro; USD=dollaro|dollari; GBP=sterlina|sterline; ¥=yen; JPY=yen; CHF=franco svizzero|franchi svizzeri"
)
ITALIAN_SCALES = words(
    "milioni=milioni; milione=milione; miliardi=miliardi; miliardo=miliardo; mila=mila; mln=milioni; mld=miliardi"
)

PORTUGUESE_SIGNS = words(
    """
    point=vírgula; dot=ponto; minus=menos; plus=mais; to=a; over=sobre; and=e; at=arroba; slash=barra
    backslash=barra invertida; dash=hífen; underscore=sublinhado; colon=dois pontos; question=interrogação
    hash=cardinal; tilde=til; equals=igual a; times=vezes; by=por; divided=dividido por; less=menor que
    greater=maior que; about=cerca de; approximately=aproximadamente; plusminus=mais ou menos; root=raiz de
    squared=ao quadrado; cubed=ao cubo; power=elevado a; fold=vezes; version=versão
    always=vinte e quatro horas por dia; percent=por cento
    """
)
PORTUGUESE_UNITS = names(
    """
    km=quilômetro|quilômetros; m=metro|metros; cm=centímetro|centímetros; mm=milímetro|milímetros
    km²=quilômetro quadrado|quilômetros quadrados; m²=metro quadrado|metros quadrados; m³=metro cúbico|metros cúbicos
    ha=hectare|hectares; kg=quilo|quilos; g=grama|gramas; mg=miligrama|miligramas; t=tonelada|toneladas
    l=litro|litros; L=litro|litros; ml=mililitro|mililitros; km/h=quilômetro por hora|quilômetros por hora
    °C=grau Celsius|graus Celsius; °=grau|graus; min=minuto|minutos; s=segundo|segundos; Hz=hertz; kHz=quilohertz
    MHz=megahertz; GHz=gigahertz; W=watt|watts; kW=quilowatt|quilowatts; kWh=quilowatt-hora|quilowatts-hora
    V=volt|volts; MB=megabyte|megabytes; GB=gigabyte|gigabytes; TB=terabyte|terabytes; %=por cento; ‰=por mil
    """
)
PORTUGUESE_CURRENCIES = names(
    "EUR=euro|euros; USD=dólar|dólares; BRL=real|reais; GBP=libra|libras; ¥=iene|ienes; JPY=iene|ienes"
)
PORTUGUESE_SCALES = words("milhões=milhões; milhão=milhão; bilhões=bilhões; bilhão=bilhão; mil=mil; mi=milhões")
