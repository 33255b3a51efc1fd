"""Sentence templates of the tasks with furniture: a dozen or more to train on, four for validation. See language.py."""

from __future__ import annotations

# Of each pair the first tuple is the training split, the second the validation split.
Wordings = tuple[tuple[str, ...], tuple[str, ...]]

SLIDER: Wordings = (
    (
        "slide the cabinet door to the {side}",
        "move the sliding door over to the {side}",
        "shift the door of the cabinet {side}",
        "drag the sliding door {side} by its handle",
        "pull the door handle along to the {side}",
        "take the cabinet door all the way {side}",
        "I want the sliding door on the {side}",
        "please put the sliding door at the {side} end",
        "make the cabinet door go {side}",
        "the cabinet door should end up on the {side} side",
        "run the sliding door along its rail, {side}",
        "push the handle of the cabinet door {side}",
        "please slide the door {side}, all the way",
        "bring the sliding door along to its {side} end",
        "let the cabinet door run to the {side}",
        "get the door over to the {side} side of the cabinet",
        "I want the cabinet door pushed to the {side}",
        "take hold of the door handle and shift it {side}",
    ),
    (
        "please drag the cabinet door to the {side}",
        "take the sliding door over to the {side} side",
        "make the door go {side} along its rail",
        "shift the sliding door to the {side} end",
    ),
)
OPEN_DRAWER: Wordings = (
    (
        "pull out the drawer under the table",
        "hook the drawer handle and draw it out",
        "get the drawer open",
        "slide the drawer out toward you",
        "I want to see inside the drawer, open it",
        "please open up the drawer",
        "tug on the drawer handle until it is open",
        "make the drawer come out",
        "the drawer is shut, pull it open",
        "bring the drawer out by its handle",
        "drag the drawer open",
        "draw the closed drawer toward you",
    ),
    (
        "please tug the drawer open",
        "make the drawer slide out",
        "bring out the drawer under the table",
        "get the shut drawer open by its handle",
    ),
)
CLOSE_DRAWER: Wordings = (
    (
        "shut the drawer under the table",
        "press the drawer back in",
        "get the drawer shut",
        "slide the drawer in until it is closed",
        "I want the drawer closed again",
        "please shut the open drawer",
        "push on the drawer front until it shuts",
        "make the drawer go back in",
        "the drawer is open, close it up",
        "return the drawer to its closed place",
        "move the drawer inward",
        "ease the drawer back under the table",
    ),
    (
        "please press the drawer shut",
        "make the drawer go in until it shuts",
        "return the open drawer under the table",
        "get the drawer back in and closed",
    ),
)
BULB: Wordings = (
    (
        "flip the switch so that the bulb {goes}",
        "use the lever to turn the bulb {state}",
        "move the switch {way} to get the bulb {state}",
        "slide the lever {way}, bulb {state}",
        "the bulb at the switch should be {state}",
        "switch the yellow lamp {state}",
        "I want the light bulb to be {state}",
        "please get the yellow bulb {state}",
        "make the bulb {look} by means of the lever",
        "bring the switch {way} so the yellow lamp {goes}",
        "put the yellow lamp {state} with the switch",
        "set the lever to bulb {state}",
        "push the lever {way} until the yellow bulb {goes}",
        "the lever goes {way} and the bulb {goes}",
        "please move the lever {way}",
        "please turn the yellow lamp {state} by the switch",
        "with the switch, get the light bulb to {look}",
        "get the lamp {state}: bring the lever {way}",
        "yellow bulb {state}, please",
        "slide the switch {way} so that the lamp {goes}",
        "I want the lever {way} and the yellow lamp {state}",
        "use the switch, the light bulb should {look}",
        "the lamp at the lever should be {state}",
        "put the switch {way}, light bulb {state}",
    ),
    (
        "please switch the bulb {state} with the lever",
        "flip the lever {way}, yellow lamp {state}",
        "make the yellow lamp {look} by the switch",
        "the yellow bulb should be {state}",
    ),
)
LED: Wordings = (
    (
        "press the button so that the led {goes}",
        "push the button down to get the led {state}",
        "touch the button, led {state}",
        "hit the button until the led is {state}",
        "the led at the button should be {state}",
        "switch the green light {state}",
        "I want the led to be {state}",
        "please get the green led {state}",
        "make the led {look} by means of the button",
        "tap the button so the green light {goes}",
        "put the green light {state} with the button",
        "use the button to turn the led {state}",
    ),
    (
        "please switch the led {state} with the button",
        "tap the button, green light {state}",
        "make the green light {look} by the button",
        "the green led should be {state}",
    ),
)
