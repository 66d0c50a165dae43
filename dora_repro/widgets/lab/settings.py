"""What the lab builds, to be chosen: the run, what its checkpoints hold, and the other options of the study."""

from dora_repro.lab.choices import OPTIONS, STUDY, Choices, runs
from dora_repro.subject.config import PARTS
from dora_repro.widgets.panel import row, widgets

NUMBERS = {"workers": (0, 8), "perturbation_start": (1, 100), "perturbation_length": (1, 100)}  # least, most


class Settings(widgets.Accordion):
    """Controls of `Choices`, folded; the title says what is chosen.

    Args:
        choices: at the beginning.

    Attributes:
        run: the study's run, or one of the fault gallery.
        parts: a checkbox for each part of a checkpoint.
        options: the options of the study that are one of several words.
        dropout: whether dropout is drawn.
        numbers: the options of the study that are numbers.
        replay: the button that does the same actions with what is chosen.
    """

    def __init__(self, choices: Choices):
        self._initial = choices
        style = {"description_width": "initial"}
        self.run = widgets.Dropdown(options=runs(), value=choices.run, description="run", style=style)
        self.parts = {part: _checkbox(part, part in choices.parts) for part in PARTS}
        self.options = {
            name: widgets.Dropdown(
                options=options, value=getattr(choices, name), description=name, style=style, layout={"width": "14em"}
            )
            for name, options in OPTIONS.items()
        }
        self.dropout = _checkbox("dropout", choices.dropout)
        self.numbers = {
            name: widgets.BoundedIntText(
                value=getattr(choices, name), min=low, max=high, description=name.replace("perturbation_", "window "),
                style=style, layout={"width": "11em"},
            )
            for name, (low, high) in NUMBERS.items()
        }  # fmt: skip  # a row of arguments
        self.replay = widgets.Button(
            description="Replay", icon="repeat", tooltip="do the same actions with these settings",
            layout={"width": "auto"},
        )  # fmt: skip  # a row of arguments
        self._of_the_study = [
            row(widgets.HTML("the checkpoint holds&nbsp;"), *self.parts.values()),
            row(self.options["optimizer"], self.options["scheduler"], self.dropout, self.numbers["workers"]),
            row(self.options["perturbation"], self.numbers["perturbation_start"], self.numbers["perturbation_length"]),
        ]
        super().__init__(
            [widgets.VBox([row(self.run, self.replay), *self._of_the_study])], titles=("",), selected_index=None
        )
        for control in (self.run, self.dropout, *self.parts.values(), *self.options.values()):
            control.observe(self._changed, "value")
        self._changed()

    def choices(self) -> Choices:
        """Return what is chosen now.

        Raises:
            BadInput: the choices exclude each other.
        """
        return Choices(
            run=self.run.value,
            parts=self._parts,
            dropout=self.dropout.value,
            epochs=self._initial.epochs,
            steps_per_epoch=self._initial.steps_per_epoch,
            seed=self._initial.seed,
            **{name: control.value for name, control in {**self.options, **self.numbers}.items()},
        )

    @property
    def _parts(self) -> tuple[str, ...]:
        return tuple(part for part, box in self.parts.items() if box.value)

    def _changed(self, change: object = None) -> None:
        """Show what belongs to the run: those of the fault gallery have no options.

        Hidden options keep their room: the buttons below must not move under a click that is on its way.
        """
        study = self.run.value == STUDY
        for each in self._of_the_study:
            each.layout.visibility = "visible" if study else "hidden"
        words = [self.run.value]
        if study:
            words.append(f"checkpoint holds {', '.join(self._parts) or 'nothing'}")
            words += [control.value for control in self.options.values() if control.value != "none"]
            words.append("dropout" if self.dropout.value else "no dropout")
        self.titles = (f"Settings: {'; '.join(words)}",)

    def __repr__(self) -> str:
        return f"Settings({self.run.value})"


def _checkbox(name: str, checked: bool) -> widgets.Checkbox:
    return widgets.Checkbox(value=checked, description=name, indent=False, layout={"width": "7em"})
