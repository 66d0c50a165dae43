"""What the lab builds, to be chosen: the run, what its checkpoints hold, and the rest of the study's options."""

from dora_repro.lab.choices import OPTIONS, STUDY, Choices, runs
from dora_repro.subject.config import PARTS
from dora_repro.widgets.panel import row, widgets


class Settings(widgets.VBox):
    """Controls of `Choices`; `apply` tells the same story with what they say.

    Attributes:
        parts: a checkbox for each part of a checkpoint.
    """

    def __init__(self, choices: Choices):
        self._begun = choices
        style = {"description_width": "initial"}
        self.run = widgets.Dropdown(options=runs(), value=choices.run, description="run", style=style)
        self.parts = {
            part: widgets.Checkbox(value=part in choices.parts, description=part, indent=False, layout={"width": "7em"})
            for part in PARTS
        }
        narrow = {"width": "14em"}
        self.options = {
            name: widgets.Dropdown(
                options=OPTIONS[name], value=getattr(choices, name), description=name, style=style, layout=narrow
            )
            for name in OPTIONS
        }
        self.dropout = widgets.Checkbox(
            value=choices.dropout, description="dropout", indent=False, layout={"width": "7em"}
        )
        numbers = {"workers": (0, 8), "perturbation_start": (1, 100), "perturbation_length": (1, 100)}
        self.numbers = {
            name: widgets.BoundedIntText(
                value=getattr(choices, name),
                min=low,
                max=high,
                description=name.replace("perturbation_", "window "),
                style=style,
                layout={"width": "11em"},
            )
            for name, (low, high) in numbers.items()
        }
        self.apply = widgets.Button(
            description="Tell it again",
            icon="repeat",
            tooltip="the same actions, with what is chosen here",
            layout={"width": "auto"},
        )
        held = row(widgets.HTML("the checkpoint holds&nbsp;"), *self.parts.values())
        self._of_the_study = [
            held,
            row(self.options["optimizer"], self.options["scheduler"], self.dropout, self.numbers["workers"]),
            row(self.options["perturbation"], self.numbers["perturbation_start"], self.numbers["perturbation_length"]),
        ]
        super().__init__([row(self.run, self.apply), *self._of_the_study])
        self.run.observe(self._show, "value")
        self._show()

    def choices(self) -> Choices:
        """What is chosen now.

        Raises:
            BadInput: choices that exclude each other.
        """
        return Choices(
            run=self.run.value,
            parts=tuple(part for part, box in self.parts.items() if box.value),
            dropout=self.dropout.value,
            epochs=self._begun.epochs,
            steps_per_epoch=self._begun.steps_per_epoch,
            seed=self._begun.seed,
            **{name: control.value for name, control in {**self.options, **self.numbers}.items()},
        )

    def _show(self, change: object = None) -> None:
        """A fault of the gallery has no choices."""
        for each in self._of_the_study:
            each.layout.display = "" if self.run.value == STUDY else "none"

    def __repr__(self) -> str:
        return f"Settings({self.run.value})"
