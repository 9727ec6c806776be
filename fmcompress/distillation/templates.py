"""The prompts of the tasks, with solved examples that are written for this purpose: none stands in the tasks' data."""

CQA = """\
Each question has five choices. Say in a sentence or two why, then name the choice.

Q: Where would a cook put milk that has to stay fresh until the weekend?
Answer Choices:
(a) oven
(b) refrigerator
(c) window sill
(d) sink
(e) lunch table
A: Milk turns sour unless it is kept cold. Only a refrigerator is cold. So the answer is (b) refrigerator.

Q: What is a violinist likely to tighten before a concert begins?
Answer Choices:
(a) belt
(b) lid
(c) strings
(d) shoes
(e) rope
A: A violin is tuned before it is played, and that is done by tightening strings. So the answer is (c) strings.

Q: The hikers were soaked on the mountain, what had they forgotten?
Answer Choices:
(a) compass
(b) sandwiches
(c) map
(d) camera
(e) raincoats
A: They were soaked by rain. What keeps rain off hikers is a raincoat. So the answer is (e) raincoats.

Q: Why did the gardener carry a ladder to the cherry tree?
Answer Choices:
(a) reach fruit
(b) water roots
(c) dig a hole
(d) mow grass
(e) sweep leaves
A: A ladder is for what is high up. Of the choices only fruit hangs high. So the answer is (a) reach fruit.

Q: {input}
A:"""

SVAMP = """\
Solve each problem: say what is known and what follows, then give the calculation in parentheses.

Q: Nora baked 48 rolls and sold 19 of them before noon
How many rolls were left at noon?
A: There were 48 rolls at first. 19 of them were sold, so 48 - 19 = 29 were left. The answer is (48 - 19).

Q: A theatre has 14 rows with 22 seats each. 9 of its lamps are broken.
How many seats does it have?
A: The lamps do not matter. 14 rows of 22 seats are 14 * 22 = 308 seats. The answer is (14 * 22).

Q: Idris picked 35 pears in the morning and 29 in the afternoon. He packs them into boxes of 8 pears
How many boxes does he fill?
A: He picked 35 + 29 = 64 pears. With 8 pears a box he fills 64 / 8 = 8 boxes. The answer is ((35 + 29) / 8).

Q: After Lena got 12 stamps from her uncle and 6 from a friend she had 50 stamps
How many stamps did she have at first?
A: She got 12 + 6 = 18 stamps. At first she had 50 - 18 = 32. The answer is (50 - (12 + 6)).

Q: {input}
A:"""

ESNLI = """\
Does the hypothesis follow from the premise (entailment), contradict it (contradiction), or neither (neutral)?
Say in a sentence why, then the label.

Premise: A girl in a yellow coat feeds ducks at a pond.
Hypothesis: A child is near water.
A: A girl is a child, and whoever is at a pond is near water. So the answer is entailment.

Premise: Three cyclists climb a steep road in the sun.
Hypothesis: The cyclists are asleep in a tent.
A: Who climbs a road by bicycle is awake, and not in a tent. So the answer is contradiction.

Premise: A man carries a large cardboard box up the stairs.
Hypothesis: The man is moving into a new flat.
A: He may be moving in, but a box can be carried upstairs for many reasons. So the answer is neutral.

{input}
A:"""

GSM8K = """\
Solve each problem step by step, then give the number.

Q: A bakery sells loaves at $4 each. On Monday it sold 30 loaves, on Tuesday half as many. What did it take in?
A: On Tuesday it sold 30 / 2 = 15 loaves. On both days it sold 30 + 15 = 45 loaves.
They brought in 45 * 4 = 180 dollars. The answer is 180.

Q: Omar reads 20 pages a day from Monday to Friday and twice as many on each day of the weekend. \
How many weeks does a book of 540 pages take him?
A: From Monday to Friday he reads 5 * 20 = 100 pages. On the weekend he reads 2 * 2 * 20 = 80 pages.
In a week he reads 100 + 80 = 180 pages. The book takes 540 / 180 = 3 weeks. The answer is 3.

Q: A tank holds 90 litres and is one third full. A pump adds 12 litres a minute. \
After how many minutes is the tank full?
A: One third of 90 is 90 / 3 = 30 litres. 90 - 30 = 60 litres are missing.
At 12 litres a minute that takes 60 / 12 = 5 minutes. The answer is 5.

Q: {input}
A:"""

PLAIN = """\
Answer the question. First say in a few sentences why, then end with "The answer is" and the answer.

Q: {input}
A:"""

TEMPLATES = {"cqa": CQA, "svamp": SVAMP, "esnli": ESNLI, "gsm8k": GSM8K, "text": PLAIN, "number": PLAIN}
