"""The words of generated problems: those of bAbI, ProofWriter and ProntoQA, so that one model reads all."""

NAMES = (
    "emily winona jessica gertrude lily bernhard greg brian julius anne bob charlie dave erin fiona gary harry "
    "max stella wren sam polly alex rex fae sally"
).split()
FICTIONAL = (
    "wumpus yumpus zumpus dumpus rompus numpus tumpus vumpus impus jompus brimpus gorpus shumpus lempus sterpus "
    "grimpus lorpus borpus terpus felpus"
).split()
ANIMALS = "wolf mouse cat sheep swan lion rhino frog".split()
COLOURS = "white gray green yellow".split()
ATTRIBUTES = (
    "kind big round nice quiet rough smart young cold furry red blue sour bitter happy angry shy earthy floral "
    "fruity metallic wooden liquid opaque bright dull hot temperate small large luminous transparent nervous feisty "
    "aggressive amenable brown orange spicy sweet"
).split()
