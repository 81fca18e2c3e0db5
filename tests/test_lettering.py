from pathlib import Path

import pytest
from matplotlib.ft2font import FT2Font

from lsmbench import lettering
from lsmbench.lettering import lettered


@pytest.mark.parametrize("text", ["images/Müller 05.png", "Ωμέγα.jpg", "снимок.png", "a$b_c^d"])
def test_what_the_usual_font_has_is_drawn_by_it(text: str) -> None:
    shown, font = lettered(text)
    assert (shown, font.name) == (text, "DejaVuSans.ttf")


@pytest.mark.parametrize("text", ["张三/左肺.png", "写真 07", "a\nb", "Gr\udcf6\udcdfe.png", "\ufffe"])
def test_nothing_is_drawn_as_a_box(text: str) -> None:
    shown, font = lettered(text)
    assert {ord(letter) for letter in shown} <= FT2Font(str(font)).get_charmap().keys()
    assert shown.isprintable()


def test_another_font_of_the_machine_is_taken_where_it_has_more(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = lettered("a")[1]
    monkeypatch.setattr(lettering, "_installed", lambda: (Path("/absent.ttf"), Path("han.ttf")))
    had = {usual: frozenset("abc"), Path("han.ttf"): frozenset("abc左"), Path("/absent.ttf"): frozenset()}
    monkeypatch.setattr(lettering, "_letters_of", had.__getitem__)
    assert lettered("ab") == ("ab", usual)
    assert lettered("a左肺") == ("a左\\u80ba", Path("han.ttf"))
