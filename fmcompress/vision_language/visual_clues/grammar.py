"""The words that hold English sentences together, and the commonest adjectives, as the rule parser knows them."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BE = _words("is are was were be being been isn't aren't wasn't weren't 's")
DETERMINERS = _words(
    "a an the some any each every another both all several many few my your his her its our their this that "
    "these those one two three four five six seven eight nine ten no"
)
# they may also stand alone: "this is a cup", "behind her", "both are red"
ALONE = _words("his her this that these those one two three both all many some each")
PRONOUNS = _words("it he she they them him we us i you there")
RELATIVE = _words("which who that whose")
NEGATIONS = _words("no not never without nor isn't aren't wasn't weren't neither")
JOINING = _words("and or , nor but as-well-as")
STOPS = _words("; : ( ) — while where when because although though if then than so")
ADVERBS = _words(
    "very quite rather really also just only almost slightly clearly partly mostly fully too still here now always "
    "often together directly softly brightly firmly away out up down back well maybe perhaps most more less "
    "somewhat extremely nearly away apart forward can could may might will would must should does do did to as"
)
# whose "of" is no relation: a photo of a cat shows a cat
CONTAINERS = _words(
    "photo photograph picture image view close-up closeup portrait shot snapshot pair group lot kind piece couple "
    "number set bunch sort type scene drawing depiction"
)
_SINGLE = _words(
    "in on at of with by under over above below behind beside near between among around against across along through "
    "inside outside within beneath underneath atop toward towards from into onto upon off past for about"
)
_SEVERAL = _words(
    "next_to in_front_of on_top_of close_to to_the_left_of to_the_right_of on_the_left_of on_the_right_of "
    "out_of made_of full_of attached_to at_the_top_of at_the_bottom_of on_both_sides_of on_the_side_of "
    "in_the_middle_of in_the_center_of in_the_centre_of adjacent_to surrounded_by because_of"
)
PREPOSITIONS = frozenset(tuple(words.split("_")) for words in _SINGLE | _SEVERAL)
LONGEST = max(map(len, PREPOSITIONS))
ADJECTIVES = _words(
    "red orange yellow green blue purple pink brown black white grey gray silver golden gold beige tan dark "
    "light bright pale colourful colorful big large huge small little tiny tall short long wide narrow thick "
    "thin high low deep round oval square flat curved sharp pointed smooth rough soft hard shiny dull "
    "clean dirty wet dry hot cold warm old new young modern empty full open closed heavy fine dense sparse "
    "wooden metal metallic plastic leather glass steel ceramic stone concrete woollen cotton american french "
    "british handwritten blurry clear sunny cloudy happy sad calm busy quiet furry fluffy hairy bald blond "
    "blonde main single double different similar same other left right upper lower top bottom front rear nice "
    "beautiful pretty good bad human typical central circular lit grassy rocky sandy snowy dusty foggy hazy "
    "rainy stormy muddy rusty glossy transparent upright vertical horizontal parallel black-and-white blurred "
    "tabby mechanical electric natural artificial visible bare fresh loose tight straight angular"
)
# the last word of a phrase that says where in the picture: "in the upper left of the image"
PLACES = _words("left right centre center middle corner")
# nouns that end as adjectives do
NOUNS = _words(
    "table cable vegetable stable fish dish radish goldfish jellyfish starfish finish handful mouthful speed hundred "
    "breed seaweed ceiling building"
)
FUNCTION_WORDS = PRONOUNS | BE | JOINING | STOPS | NEGATIONS | RELATIVE
ADJECTIVE_ENDINGS = ("ful", "ous", "ish", "less", "able", "ible", "like")
