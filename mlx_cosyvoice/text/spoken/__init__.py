"""Text as people would say it, sentence by sentence, each in its own language.

What is read otherwise than upstream reads it (`normalize="upstream"`), and why:

| what | upstream | here | why |
|---|---|---|---|
| which text is read | all where there is a digit, else none | each sentence alone | far away words changed |
| language | Chinese with an ideograph, else English | each sentence's; see `language` | English numbers in German |
| languages that num2words does not spell for us | English numbers | digits stay | the model knows digits |
| markdown, HTML | signs are spelled or kept | left out; headings, items, rows are sentences | nobody says "asterisk" |
| line ends | dropped | a short line without a mark ends a sentence | two lines ran into each other |
| abbreviations (Mr., e.g., pp., a.m.) | where there is a digit | always in words | their full stops ended sentences |
| initials (J.K., U.S.) | kept, in Chinese "J\u3002K\u3002" | letters without full stops | the same |
| files, URLs, mail | kept or cut at the dots | dot, slash, at | "config\u3002json" |
| years, decades, clock times, dates | some | all; 1980s, '90s, 24/7, May 3, 2024-05-03 | "1980 seconds" |
| separators (1,500; 1 500; 1.500; 2,5) | some | by the language | "one dollar, five hundred" |
| versions, model names, hyphens | minus, "two.five" | point by point; a hyphen joins | "GPT minus 4" |
| money, units, scores, ranges, fractions, math | some | in the sentence's language | |
| Roman numerals | kept | after monarchs, chapters, wars and the like | |
| emoji, smileys, arrows, citations [1] | kept | left out | they have no sound |
| Chinese numbers beside a noun | wetext, whole text | wetext, the number and its noun | it rewrote words far away |

`markdown` makes lines of a text, `sentences` cuts them, `language` finds each one's language, `reading` has the order
of the rules, and a `speaker` says numbers and signs in one language.
"""

from mlx_cosyvoice.text.spoken.language import detect
from mlx_cosyvoice.text.spoken.text import first_language, sentences, speak

__all__ = ["detect", "first_language", "sentences", "speak"]
