"""Recall over a whole split while a model trains."""

from collections.abc import Iterator

from PIL import Image

from ..data import Split
from ..data.split import Id
from ..errors import InputError
from ..evaluation.encoding import Encoder, counted, encode_texts, texts_of
from ..evaluation.files import Features, Texts
from ..evaluation.retrieval import Retrieval, predict, score


def recall_of_split(encoder: Encoder, data: Split) -> tuple[Retrieval, dict[Id, str]]:
    """Recall in both directions, and why pictures are left out; all other pictures and all texts are in the pool.

    A picture that breaks while a model trains does not end the training. A text without a picture is no query.

    Raises:
        InputError: the split is blind, or no picture can be read.
    """
    ids: list[Id] = []
    broken: dict[Id, str] = {}
    pictures = counted("Encoding pictures", _readable(data, ids, broken), len(data.pictures))
    images = Features(ids, encoder.pictures(pictures))
    if not ids:
        raise InputError(f"no picture of the split {data.name} can be read: {next(iter(broken.values()))}")
    texts = encode_texts(encoder, [text.id for text in data.texts], [text.text for text in data.texts])
    whole = texts_of(data)
    split = Texts(
        whole.texts, {text: [each for each in of if each not in broken] for text, of in whole.images.items()}
    )
    return score(predict(texts, images, split), split), broken


def _readable(data: Split, ids: list[Id], broken: dict[Id, str]) -> Iterator[Image.Image]:
    """The pictures that can be read, in their order; notes their ids, and why the others cannot be read."""
    for number, each in enumerate(data.image_ids):
        try:
            picture = data.pictures[number][1]
        except InputError as error:
            broken[each] = str(error)
            continue
        ids.append(each)
        yield picture
