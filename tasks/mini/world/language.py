"""Words of the embedded world: facts, vocabulary, tokenizer, and a small grammar for plain text."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tasks.mini.world.pictures import CATEGORIES, CODE_LETTERS, COLORS, DIGITS, KINDS, LETTERS

PROPERTIES: dict[str, tuple[str, ...]] = {
    "alive": ("tree", "fish", "flower", "mushroom"),
    "edible": ("fish", "mushroom"),
    "round": ("circle", "sun"),
    "bright": ("sun", "moon", "star"),
    "artificial": ("house", "cup", "key", "flag"),
    "angular": ("square", "triangle", "diamond", "star", "house"),
}
CORNERS: dict[str, int] = {"circle": 0, "triangle": 3, "square": 4, "diamond": 4, "star": 5}
# A foreign language of 24 words, one for every kind and colour: facts that only the weights can
# hold.
DICTIONARY: dict[str, str] = dict(
    zip(
        "zav nub kif wem tog lur pez dag hix vol bru sed gan moq fet jul cho rys wab tik neb luz"
        " pog kem".split(),
        (*KINDS, *COLORS),
        strict=True,
    )
)
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Words that are read off signs. The second list is never seen in training: reading must work by
# letters.
TRAINING_WORDS = tuple(
    "go up at by he we my us no ox ant arm art bag bat bed bee big box boy bus cab can cap car cow"
    " cut day dog dry ear eat egg end far fat fit fly fog fun gas gum hat hen hot ice ink jam jar"
    " job joy kid lap leg log lot low man map mud net new nut oak oil old pan pay pen pie pot ray"
    " rib row rug run sad saw sea six sky sit tap tea ten tip top toy van wax web win yes zoo army"
    " back bake band barn bath bear beef bell bird boat book boot bowl bread cake calm camp card"
    " cash cave city coal coat coin cold corn crab crow dark deep deer desk dish door dove drum"
    " dust east exit farm fast film fire fork fort frog gate gift goat gold good hall hand harp"
    " hawk hill home hook horn idea iron jazz july jump kind king kite lake lamp land leaf lift"
    " lime lion list loaf lock long loud love luck mail mark mask meal menu milk mine mint moss"
    " myth nail neck news nine noon nose note oven pack page palm park path peak pear pine pipe"
    " plan plum pond pool port rain ramp rice ring".split()
)
HELD_OUT_WORDS = tuple(
    "bin cot den elf fig gem hip inn jet keg lid mop nap owl pig rat sob tub urn vet wig yak zip"
    " axe bow cub dip fox hut ivy acid bank base beak bolt bone bush cafe cart chef clay club cook"
    " cord dawn dice dock duck echo envy face fern fist foam game glue grid hero hike hint hood"
    " jade jeep joke judo knee kiwi lace lava lens loft lynx maze melt mist mold moth navy nest"
    " oval pawn plug pony quiz raft rose rope ruby rust salt sand sail seal silk sink snow soap"
    " sofa song soup stem surf swan taxi tent tide tile tomb tuna unit vase vest vine volt wave"
    " whip wolf wood wool yard yarn yoga zinc zone".split()
)

_QUESTION_WORDS = (
    "What Which Is Are How Does Describe A B C D USER ASSISTANT a an and are answer answers as at"
    " below above between bar bars bigger bottom by can character code color colors corners"
    " describe difference does each field form from has have higher highest how image in is it item"
    " largest left lies line lowest many mean means more most next number numbers object objects of"
    " on one or output options picture plus minus red row says sequence several shape sign smallest"
    " something sum than that the there these thing this to top total two value what which word"
    " words yes no You see Yes No There The with another any it its same other empty"
).split()
_PLURALS = tuple(kind if kind == "fish" else kind + "s" for kind in KINDS)
PLURAL: dict[str, str] = dict(zip(KINDS, _PLURALS, strict=True))
WHOLE_WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *KINDS,
            *_PLURALS,
            *COLORS,
            *CATEGORIES,
            *PROPERTIES,
            *NUMBER_WORDS,
            *(w for w in _QUESTION_WORDS if len(w) > 1),
            *"ABCD",
        )
    )
)
PUNCTUATION = "?.,:;-+=>"
SPECIAL_TOKENS = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>", "image": "<image>"}


def build_tokenizer(
    special: Mapping[str, str] = SPECIAL_TOKENS,
    syllables: Sequence[str] = (),
    words: Sequence[str] = WHOLE_WORDS,
) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of the templates' words; all others are spelled letter by letter.

    Args:
        special: Token by its role; roles other than pad, unk, bos and eos are the model's own.
        syllables: Further pieces of words, at their beginning and inside.
        words: That are one token each.
    """
    pieces = [*LETTERS, *DIGITS, *PUNCTUATION, *(f"##{c}" for c in LETTERS + DIGITS)]
    pieces += [*syllables, *(f"##{one}" for one in syllables)]
    vocabulary = {token: i for i, token in enumerate([*special.values(), *pieces])}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token=special["unk"], max_input_chars_per_word=64)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in special.values()]
    )
    # single_word: "in" is a word of the templates, "ink" is spelled.
    tokenizer.add_tokens(
        [AddedToken(w, single_word=True, normalized=False) for w in words if w not in LETTERS]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="left",
        model_max_length=256,
        extra_special_tokens={
            f"{name}_token": token for name, token in special.items() if name not in _USUAL
        },
        **{f"{name}_token": token for name, token in special.items() if name in _USUAL},
    )


_USUAL = ("pad", "unk", "bos", "eos")  # roles that every tokenizer of transformers knows


def words_on_signs(*, held_out: bool) -> tuple[str, ...]:
    """Words that fit into a row of four cells and that the tokenizer spells.

    Args:
        held_out: Those of the evaluation, else those of training; no word is in both.
    """
    words = HELD_OUT_WORDS if held_out else TRAINING_WORDS
    return tuple(w for w in words if len(w) <= 4 and w not in WHOLE_WORDS)


def random_letters(rng: random.Random, low: int = 2, high: int = 4) -> str:
    """A random string that is no word of the templates or of the evaluation.

    Args:
        rng: Source of all randomness.
        low: Fewest letters.
        high: Most letters.
    """
    while True:
        text = "".join(rng.choice(LETTERS) for _ in range(rng.randint(low, high)))
        if text not in WHOLE_WORDS and text not in HELD_OUT_WORDS:
            return text


def random_sentence(rng: random.Random) -> str:
    """A fact about a kind, a word's translation, a sum, a comparison or a spelled code."""
    pattern = rng.randrange(8)
    if pattern == 0:
        name, kinds = rng.choice(list(PROPERTIES.items()))
        return f"The {rng.choice(kinds)} is {name}."
    if pattern == 1:
        category, kinds = rng.choice(list(CATEGORIES.items()))
        return f"The {rng.choice(kinds)} is a {category}."
    if pattern == 2:
        foreign, english = rng.choice(list(DICTIONARY.items()))
        return f"The word {foreign} means {english}."
    if pattern == 3:
        a, b = rng.randrange(10), rng.randrange(10)
        return f"{a} plus {b} is {a + b}." if rng.random() < 0.5 else f"{a + b} minus {b} is {a}."
    if pattern == 4:
        kind, corners = rng.choice(list(CORNERS.items()))
        return f"The {kind} has {corners} corners."
    if pattern == 5:
        a, b = rng.sample(range(20), 2)
        return f"The number {max(a, b)} is more than {min(a, b)}."
    if pattern == 6:
        kind, color = rng.choice(KINDS), rng.choice(list(COLORS))
        other = rng.choice([c for c in COLORS if c != color])
        return f"The {kind} is {color} and not {other}.".replace("not", "no")
    code = "".join(rng.choice(CODE_LETTERS + DIGITS) for _ in range(3))
    kind = rng.choice(KINDS)
    return f"The code of the {kind} is {code}. The {kind} has the code {code}."


def random_text(rng: random.Random, sentences: int) -> str:
    """So many sentences of `random_sentence`, with spaces between."""
    return " ".join(random_sentence(rng) for _ in range(sentences))
