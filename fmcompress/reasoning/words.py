"""The words of generated problems: those of bAbI, ProofWriter and ProntoQA, so that one model reads all."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "emily winona jessica gertrude lily bernhard greg brian julius anne bob charlie dave erin fiona gary harry max "
    "stella wren sam polly alex rex fae sally"
)
FICTIONAL = _words(
    "wumpus yumpus zumpus dumpus rompus numpus tumpus vumpus impus jompus brimpus gorpus shumpus lempus sterpus "
    "grimpus lorpus borpus terpus felpus"
)
ANIMALS = _words("wolf mouse cat sheep swan lion rhino frog")
COLOURS = _words("white gray green yellow")
ATTRIBUTES = _words(
    "kind big round nice quiet rough smart young cold furry red blue sour bitter happy angry shy earthy floral fruity "
    "metallic wooden liquid opaque bright dull hot temperate small large luminous transparent nervous feisty "
    "aggressive amenable brown orange spicy sweet"
)
