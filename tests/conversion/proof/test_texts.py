import unicodedata

from hf_zhclip.conversion.proof import texts


def test_no_character_of_2002_lies_outside_of_the_planes_that_are_looked_at():
    inside = {number for plane in texts.PLANES for number in plane}
    outside = (number for number in range(0x110000) if number not in inside)

    # Unassigned, half of a surrogate pair, private use.
    assert {unicodedata.ucd_3_2_0.category(chr(number)) for number in outside} <= {"Cn", "Cs", "Co"}
    assert len(texts.stable_characters()) > 15_000
