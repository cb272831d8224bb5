"""Tests what of a text is compared, how a question is read, and which part of a text is shown."""

import unicodedata
from itertools import product

import pytest

from db.excerpts import EXCERPT_CODE_POINTS, LEAD_CODE_POINTS, excerpt
from db.terms import Query, Term, fold, has_runs, is_run, parse, terms_of

from .support import search_reference as reference


def words(text: str) -> list[str]:
    return terms_of(text).split()


def finds(text: str, query: str) -> bool:
    return parse(query).matches(terms_of(text))


# --- Terms


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        (" \t\n", []),
        ("?! — … \0", []),
        ("Zürich, 3 pm!", ["zurich", "3", "pm"]),
        ("well-known snake_case", ["well", "known", "snake", "case"]),
        ("o’brien a@b.c", ["o", "brien", "a", "b", "c"]),
        ("STRASSE straße Straſse", ["strasse"] * 3),
        ("ΟΔΟΣ οδός οδοσ", ["οδοσ"] * 3),
        ("Ёлка ЕЛКА е\u0308лка", ["елка"] * 3),
        ("İstanbul istanbul ISTANBUL", ["istanbul"] * 3),
        ("كِتَابٌ كتاب", ["كتاب"] * 2),
        ("שָׁלוֹם שלום", ["שלום"] * 2),
        ("क़लम कलम", ["कलम"] * 2),
        ("ﬁnal ﬃ ª ² ⅷ", ["final", "ffi", "a", "2", "viii"]),
        ("ｆｕｌｌ ＷＩＤＴＨ ４２", ["full", "width", "42"]),
        ("so\u00adft zero\u200bwidth", ["soft", "zerowidth"]),
        ("\u200fabc\u200e \ufeff", ["abc"]),
        ("½ 3½", ["1", "2", "31", "2"]),
        ("Tea™ 20°C", ["tea", "tm", "20", "°", "c"]),
    ],
)
def test_a_text_becomes_its_words_without_case_and_marks(text: str, wanted: list[str]):
    assert words(text) == wanted
    assert terms_of(text) == (f" {' '.join(wanted)} " if wanted else " ")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("東京", ["東京"]),
        ("東京tower 3つ", ["東京", "tower", "3", "つ"]),
        ("你好，世界", ["你好", "世界"]),
        ("がっこう ガッコウ ｶﾞｯｺｳ", ["かっこう", "カッコウ", "カッコウ"]),
        ("ภาษาไทย 42", ["ภาษาไทย", "42"]),
        ("ที่นี่", ["ทน"]),
        ("ភាសា ພາສາ မြန်မာ", ["ភស", "ພາສາ", "မနမ"]),
        ("㍿ ㈱", ["株式会社", "株"]),
        ("豈\uf900", ["豈豈"]),
    ],
)
def test_what_is_written_without_spaces_stays_in_one_piece(text: str, wanted: list[str]):
    assert words(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("👍", ["👍"]),
        ("ok👍ok", ["ok", "👍", "ok"]),
        ("👍🏽 👍🏿", ["👍", "👍"]),
        ("❤️ ❤", ["❤", "❤"]),
        ("👩‍👧", ["👩", "👧"]),
        ("👍👍", ["👍", "👍"]),
        ("🇩🇪", ["🇩", "🇪"]),
        ("1️⃣", ["1"]),
    ],
)
def test_an_emoji_is_a_word_in_any_skin(text: str, wanted: list[str]):
    assert words(text) == wanted


TEXTS = ["Žluťoučký kůň", "Ἀθῆναι", "한국어 서울", "がっこう", "नमस्ते", "שָׁלוֹם", "Ёж й", "ﬁﬀ Å"]


@pytest.mark.parametrize("text", TEXTS)
def test_composed_and_decomposed_text_have_the_same_terms(text: str):
    forms = {terms_of(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert forms == {terms_of(text)}


@pytest.mark.parametrize("text", [*TEXTS, "東京 tower", "👩‍👧 ㍿ ½", "ǅ ß ŉ ͅ"])
def test_to_fold_what_is_folded_changes_nothing(text: str):
    assert fold(fold(text)).split() == fold(text).split()
    assert terms_of(terms_of(text)) == terms_of(text)
    assert terms_of(text.upper()) == terms_of(text.lower()) == terms_of(text)


def test_a_sign_of_several_characters_is_found_as_these():
    assert words("20℃") == words("20°C")
    assert words("℉") == words("°F")


def test_every_character_is_folded_as_the_reference_does():
    for character in map(chr, range(0x2FFFF)):
        name = unicodedata.name(character, "")
        # The ideographs of Tangut have no names. Degrees have a test of their own.
        if name and "TANGUT" not in name and character not in "℃℉":
            text = f"a{character}東"
            assert tuple(words(text)) == reference.words(text), name
    reference.words.cache_clear()


def test_only_scripts_without_spaces_are_runs():
    for text in ("東", "か", "カ", "ー", "々", "ก", "ກ", "ក", "က", "ㄅ", "ꀀ", "\U00020000", "ཀ"):
        assert is_run(text)
        assert has_runs(f" word {text} ")
    for text in ("a", "é", "α", "я", "ا", "א", "क", "ᄒ", "한", "👍", "1", "°", "Ⴀ", "ა", "ሀ"):
        assert not is_run(text)
        assert not has_runs(f" {text} ")


# --- Questions


@pytest.mark.parametrize(
    ("text", "required", "excluded"),
    [
        ("Two WORDS", [Term(("two",)), Term(("words",))], []),
        ('"a phrase" word', [Term(("a", "phrase")), Term(("word",))], []),
        ("well-known", [Term(("well", "known"))], []),
        ("-without", [], [Term(("without",))]),
        ("--without", [], [Term(("without",))]),
        ('-"a phrase"', [], [Term(("a", "phrase"))]),
        ("-well-known", [], [Term(("well", "known"))]),
        ("pre*", [Term(("pre",), True)], []),
        ("pre**", [Term(("pre",), True)], []),
        ("-pre*", [], [Term(("pre",), True)]),
        ('"a phr"*', [Term(("a", "phr"), True)], []),
        ("a-phr*", [Term(("a", "phr"), True)], []),
        ('"a phr*"', [Term(("a", "phr"))], []),
        ("a*b", [Term(("a", "b"))], []),
        ("*a", [Term(("a",))], []),
        ('"no end', [Term(("no", "end"))], []),
        ('"no end*', [Term(("no", "end"))], []),
        ('-"no end', [], [Term(("no", "end"))]),
        ('a"b c"', [Term(("a", "b")), Term(("c",))], []),
        ('"a"b', [Term(("a",)), Term(("b",))], []),
        ('"a"-"b"', [Term(("a",))], [Term(("b",))]),
        ("same SAME säme", [Term(("same",))], []),
        ("a -a", [Term(("a",))], [Term(("a",))]),
        ("東京tower", [Term(("東京", "tower"))], []),
        ("AND OR NOT", [Term(("and",)), Term(("or",)), Term(("not",))], []),
        ("NEAR(a b)", [Term(("near", "a")), Term(("b",))], []),
        ("terms:a", [Term(("terms", "a"))], []),
        ("_u", [Term(("u",))], []),
        ("", [], []),
        ('"" - -"" * "', [], []),
        ("\u0301 \u200d ?! \0", [], []),
        ("a\u3000b\x1fc", [Term(("a",)), Term(("b",)), Term(("c",))], []),
    ],
)
def test_a_question_is_read(text: str, required: list[Term], excluded: list[Term]):
    assert parse(text) == Query(tuple(required), tuple(excluded))


@pytest.mark.parametrize(
    ("query", "found", "not_found"),
    [
        ("zurich", ["Zürich", "in ZÜRICH!"], ["Zürichsee", "neuzürich", ""]),
        ("zur*", ["Zürich", "zur", "a Zurich"], ["zu r", "azur"]),
        ("a b", ["b a", "a x b"], ["a", "ab"]),
        ('"a b"', ["a b", "a, B", "x a-b x"], ["b a", "a x b", "xa b", "a bx"]),
        ('"a b"*', ["a b", "a bx"], ["xa b", "a xb"]),
        ("well-known", ["well known", "WELL_KNOWN"], ["known well", "wellknown"]),
        ("a -b", ["a", "a bb"], ["a b", "b", "bb"]),
        ("a -b*", ["a", "a xb"], ["a b", "a bb"]),
        ('a -"b c"', ["a", "a c b", "a b x c"], ["a b c", "b-c a"]),
        ("東京", ["東京", "大東京市", "a東京b", "東京tower"], ["東 京", "京東", "東a京"]),
        ("京", ["京", "東京都"], ["東"]),
        ("京*", ["京", "東京都"], ["東"]),
        ('"東京 tower"', ["東京tower", "大東京、Tower"], ["東京都 tower", "東京 towers"]),
        ('"tower 東京"', ["tower東京", "Tower: 東京都"], ["tower 大東京", "atower 東京"]),
        ('"a 東京 b"', ["a東京b", "A 東京 B"], ["a 大東京 b", "a 東京都 b", "東京"]),
        ("ไทย", ["ภาษาไทย", "ไทย"], ["ภาษา"]),
        ("한", ["한"], ["한국어", "하"]),
        ("한국*", ["한국어", "한국"], ["대한국"]),
        ("👍", ["👍🏽", "ok👍", "👍👍"], ["👎"]),
        ("👧", ["👩‍👧"], ["👩"]),
        ("-a", [], ["", "b", "a"]),
        ("?!", [], ["", "?!", "a"]),
    ],
)
def test_a_question_finds(query: str, found: list[str], not_found: list[str]):
    asked = parse(query)
    assert [text for text in found if not finds(text, query)] == []
    assert [text for text in not_found if asked.required and finds(text, query)] == []
    for text in [*found, *not_found]:
        assert reference.finds(text, query) == (text in found)


# --- Excerpts


def shown(text: str, query: str) -> tuple[str, list[str]]:
    found, highlights = excerpt(text, parse(query).required)
    return found, [found[start:end] for start, end in highlights]


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("A Zürich, zurich.", "zurich", ["Zürich", "zurich"]),
        ("Cafe\u0301s cafe\u0301!", "café", ["cafe\u0301"]),
        ("Straßen", "strass*", ["Straßen"]),
        ("the ﬁnal ﬁne", "fin*", ["ﬁnal", "ﬁne"]),
        ("a b a b", '"a b"', ["a b", "a b"]),
        ("a, (b)", '"a b"', ["a, (b"]),
        ("a b c", "c a", ["a", "c"]),
        ("aa a ba", "a", ["a"]),
        ("a b", "a -c", ["a"]),
        ("大東京都", "東京", ["東京"]),
        ("が か", "か", ["が", "か"]),
        ("か\u3099", "か", ["か\u3099"]),
        ("東京tower", '"京 tower"', ["京tower"]),
        ("㍿", "式会", ["㍿"]),
        ("½", "2", ["½"]),
        ("👍🏽!", "👍", ["👍🏽"]),
        ("👩‍👧", "👧", ["👧"]),
        ("كِتَابٌ", "كتاب", ["كِتَابٌ"]),
        ("so\u00adft", "soft", ["so\u00adft"]),
        ("<b>a</b> &amp; \x1b", "b", ["b", "b"]),
    ],
)
def test_the_places_of_the_words_are_told(text: str, query: str, marked: list[str]):
    assert shown(text, query) == (text, marked)


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("new york times", '"new york" "york times"', ["new york times"]),
        ("大東京都", "東京 京都", ["東京都"]),
    ],
)
def test_places_that_overlap_are_told_as_one(text: str, query: str, marked: list[str]):
    assert shown(text, query) == (text, marked)


def test_a_short_text_is_shown_whole():
    text = "x " * 90 + "needle"
    assert shown(text, "needle") == (text, ["needle"])


FILLERS = ["word ", "x", "é", "e\u0301", "東", "👍🏽", "\n", "ﬃ", "\u0301"]


@pytest.mark.parametrize("filler", FILLERS)
def test_a_part_around_the_first_place_is_shown(filler: str):
    for before, behind in product(
        [0, 1, 59, 60, 61, 199, 200, 4_095, 4_096], [0, 1, 139, 140, 900]
    ):
        text = f"{filler * before} "[-before - 1 :] + f"needle {filler * behind}"
        part, highlights = excerpt(text, parse("needle").required)
        is_at_the_end = text.endswith(part)
        assert part in text
        assert len(part) == min(len(text), EXCERPT_CODE_POINTS) or is_at_the_end
        ((start, end),) = highlights
        assert part[start:end] == "needle"
        assert start <= LEAD_CODE_POINTS or is_at_the_end


def test_an_excerpt_begins_with_a_word():
    text = f"{'longer words ' * 40}needle{' and more' * 40}"
    part, marked = shown(text, "needle")
    assert marked == ["needle"]
    assert part.startswith(("longer ", "words "))


DECOMPOSED = "か\u3099"


def test_an_excerpt_does_not_begin_with_a_mark():
    for padding in range(80):
        text = f"{DECOMPOSED * 200}{'x' * padding}needle東京{'ん' * 300}"
        part, marked = shown(text, "東京")
        assert marked == ["東京"]
        assert not unicodedata.combining(part[0])


def test_a_hit_that_is_longer_than_an_excerpt_is_marked_up_to_its_end():
    text = "x" * 500
    assert shown(f"a {text} b", "x*") == (f"a {text}"[:200], [text[:198]])
    phrase = " ".join(["a"] * 120)
    part, marked = shown(f"{'b ' * 100}{phrase} c", f'"{phrase}"')
    assert len(part) == EXCERPT_CODE_POINTS
    assert len(marked) == 1
    assert part.endswith(marked[0])


def test_a_word_that_goes_on_behind_what_is_looked_at_is_not_marked():
    """The excerpt begins with the end of a word, or ends amid one."""
    for length in (57, 58, 59, 60, 61, 199, 200, 201, 340, 400):
        word = "x" * length
        text = f"needle {'a ' * 20}y{word} {word}y {'b ' * 300}"
        part, highlights = excerpt(text, [Term(("needle",)), Term((word,))])
        assert [part[start:end] for start, end in highlights] == ["needle"], length
        text = f"{'b ' * 300}y{word} needle {word}y {'b ' * 300}"
        part, highlights = excerpt(text, [Term(("needle",)), Term((word,))])
        assert [part[start:end] for start, end in highlights] == ["needle"], length


def test_the_end_of_a_word_that_begins_before_the_excerpt_is_not_marked():
    for padding in range(3):
        text = f"{'ab,' * 100}{'x' * padding},needle{',' * 300}"
        assert shown(text, "needle b")[1] == ["needle"]


def test_a_text_without_the_words_is_shown_from_its_beginning():
    assert shown("abc " * 100, "needle") == (("abc " * 100)[:200], [])
    assert shown("", "needle") == ("", [])
