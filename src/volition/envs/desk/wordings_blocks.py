"""Sentence templates of the tasks with blocks: twelve to train on, four for validation. See language.py."""

from __future__ import annotations

# Of each pair the first tuple is the training split, the second the validation split.
Wordings = tuple[tuple[str, ...], tuple[str, ...]]

ROTATE: Wordings = (
    (
        "spin the {color} block to the {side}",
        "give the {color} block a quarter turn to the {side}",
        "hold the {color} block and twist it {side}",
        "twist the {color} block around to the {side} side",
        "take hold of the {color} block and spin it {side}",
        "pinch the {color} block and turn it toward the {side}",
        "I want the {color} block rotated to the {side}",
        "make the {color} block face further {side}",
        "please rotate the {color} one {side} by a quarter",
        "on the table, twist the {color} block {side}",
        "swivel the {color} block {side} where it stands",
        "the {color} block should be turned {side} in place",
    ),
    (
        "please twist the {color} one to the {side}",
        "spin the {color} block {side} in place",
        "take the {color} block and give it a turn {side}",
        "hold the {color} one and rotate it toward the {side}",
    ),
)
PUSH: Wordings = (
    (
        "shove the {color} block over to the {side}",
        "nudge the {color} block along the table to the {side}",
        "slide the {color} block across the table, {side}",
        "move the {color} block {side} by pushing it",
        "with closed fingers push the {color} block {side}",
        "make the {color} block slide to the {side}",
        "I want the {color} block pushed some way {side}",
        "please shift the {color} one to the {side}",
        "the {color} block should end up further {side}",
        "bump the {color} block so that it moves {side}",
        "sweep the {color} block to the {side} side",
        "drive the {color} block {side} without lifting it",
    ),
    (
        "please shove the {color} one {side}",
        "nudge the {color} block so that it moves to the {side}",
        "shift the {color} block further along to the {side}",
        "sweep the {color} one across the table to the {side}",
    ),
)
LIFT_TABLE: Wordings = (
    (
        "raise the {color} block off the table",
        "pick the {color} block up from the table",
        "lift up the {color} block that lies on the table",
        "take the {color} block from the table top into the air",
        "close your fingers on the {color} block and raise it above the table",
        "I want the {color} block lifted from the table",
        "please get the {color} block up off the desk",
        "on the table is a {color} block, pick it up",
        "grab the {color} one on the table and hoist it",
        "hoist the {color} block from the desk",
        "collect the {color} block lying on the table",
        "bring the {color} block up from the table top",
    ),
    (
        "please hoist the {color} block off the table",
        "pick up the {color} one on the desk",
        "grab the {color} block that lies on the table top",
        "get the {color} block from the table into the air",
    ),
)
LIFT_SLIDER: Wordings = (
    (
        "raise the {color} block off the cabinet shelf",
        "pick the {color} block up from the shelf",
        "reach into the cabinet and lift the {color} block",
        "fetch the {color} block out of the cabinet",
        "take the {color} block from the shelf behind the door",
        "I want the {color} block lifted from the shelf",
        "please get the {color} block up off the shelf",
        "in the cabinet is a {color} block, pick it up",
        "grab the {color} one on the shelf and hoist it",
        "hoist the {color} block from the cabinet",
        "collect the {color} block standing in the cabinet",
        "bring the {color} block up from the cabinet shelf",
    ),
    (
        "please fetch the {color} block from the shelf",
        "pick up the {color} one in the cabinet",
        "reach behind the door and grab the {color} block",
        "get the {color} block up out of the cabinet",
    ),
)
LIFT_DRAWER: Wordings = (
    (
        "raise the {color} block out of the drawer",
        "pick the {color} block up from the drawer",
        "reach into the drawer and lift the {color} block",
        "fetch the {color} block from the open drawer",
        "take the {color} block that lies in the drawer into the air",
        "I want the {color} block lifted from the drawer",
        "please get the {color} block up out of the drawer",
        "in the drawer is a {color} block, pick it up",
        "grab the {color} one in the drawer and hoist it",
        "hoist the {color} block from inside the drawer",
        "collect the {color} block lying in the drawer",
        "bring the {color} block up from the drawer bottom",
    ),
    (
        "please fetch the {color} block out of the drawer",
        "pick up the {color} one in the open drawer",
        "reach inside the drawer and grab the {color} block",
        "get the {color} block that lies in the drawer up",
    ),
)
PLACE_SLIDER: Wordings = (
    (
        "put what you hold into the cabinet",
        "set the block in your hand down on the shelf",
        "leave the block behind the sliding door",
        "stow the held block in the cabinet",
        "lay the block on the cabinet shelf",
        "the block you carry belongs on the shelf",
        "I want this block put away in the cabinet",
        "please deposit the held block on the shelf",
        "carry the block to the cabinet and let go",
        "let go of the block inside the cabinet",
        "release the block you hold on the shelf",
        "move the block in your hand into the cabinet",
    ),
    (
        "please leave the held block on the shelf",
        "stow what you carry in the cabinet",
        "carry the block in your hand to the shelf and release it",
        "set this block down inside the cabinet",
    ),
)
PLACE_DRAWER: Wordings = (
    (
        "put what you hold into the drawer",
        "set the block in your hand down in the drawer",
        "leave the block inside the open drawer",
        "stow the held block in the drawer",
        "drop the block into the drawer",
        "the block you carry belongs in the drawer",
        "I want this block put away in the drawer",
        "please deposit the held block in the drawer",
        "carry the block to the drawer and let go",
        "let go of the block above the drawer bottom",
        "release the block you hold in the open drawer",
        "lower the block in your hand into the drawer",
    ),
    (
        "please drop the held block into the drawer",
        "stow what you carry in the open drawer",
        "carry the block in your hand to the drawer and release it",
        "set this block down inside the drawer",
    ),
)
STACK: Wordings = (
    (
        "put the block you hold on top of another block",
        "build a tower with the block in your hand",
        "set this block down upon another one",
        "stack what you carry on some other block",
        "make a pile of two blocks",
        "rest the held block on another block",
        "I want one block on top of another",
        "please pile the blocks up",
        "leave the held block standing on another one",
        "let the block in your hand sit on another block",
        "carry the block to another block and stack them",
        "create a little tower out of blocks",
    ),
    (
        "please build a tower of blocks",
        "pile what you hold on another block",
        "stack this block on top of some other one",
        "make a little tower with the held block",
    ),
)
UNSTACK: Wordings = (
    (
        "take the upper block off the lower one",
        "tear down the tower of blocks",
        "remove the block that stands on another block",
        "separate the two stacked blocks",
        "lift the top block off the tower",
        "undo the pile of blocks",
        "I want the stacked blocks taken apart",
        "please unstack the tower",
        "get the upper block down from the pile",
        "clear the top of the lower block",
        "pick the top block off the pile",
        "take apart the stack",
    ),
    (
        "please take the tower apart",
        "remove the upper block from the pile",
        "undo the stack of two blocks",
        "pick the upper block off the lower one",
    ),
)
PUSH_INTO_DRAWER: Wordings = (
    (
        "push a block from the table into the drawer",
        "sweep the block over the edge so it drops in the drawer",
        "slide the block off the table into the open drawer",
        "let a block fall into the drawer by pushing it",
        "shove the block toward you until it lands in the drawer",
        "knock the block off the table and into the drawer",
        "I want a block pushed over the edge into the drawer",
        "please sweep a block down into the drawer",
        "make the block on the table drop into the drawer",
        "without lifting it, get the block into the drawer",
        "drive the block across the table until the drawer catches it",
        "bump a block into the open drawer",
    ),
    (
        "please shove a block over the edge into the drawer",
        "make the block fall off the table into the drawer",
        "knock a block toward you until the drawer catches it",
        "sweep a block across the table into the open drawer",
    ),
)
