"""How long the lab takes from a click to the view that it changes, measured in JupyterLab in a browser (Chromium).

Step on `tiny`, with the state, the losses and the heat map open in turn; and the heat map alone, drawn anew for 200
parameters and 100 steps. The time is what the page saw: from the click until its last change. Needs what the browser
tests need.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import timing

sys.path.insert(0, str(timing.ROOT))

GOALS = {"Step, State open": 200, "heat map, 200 x 100": 500}  # ms, medians

TINY = """from dora_repro.lab.choices import Choices
from dora_repro.widgets.lab.panel import LabPanel
panel = LabPanel(choices=Choices(epochs=100, steps_per_epoch=10))
panel.lab.play("build,step,save,kill,load,step")
panel.update()
panel"""

DEEP = """import torch
from dora_repro.lab import Lab
from dora_repro.widgets.lab.panel import LabPanel

class Deep:
    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(*[torch.nn.Linear(8, 8) for _ in range({leaves} // 2)])
        self.optimizer = torch.optim.AdamW(self.model.parameters())
    def step(self):
        self.optimizer.zero_grad()
        loss = self.model(torch.ones(4, 8)).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()
    def save(self, path):
        torch.save(self.model.state_dict(), path)
    def load(self, path):
        self.model.load_state_dict(torch.load(path))

panel = LabPanel(Lab(Deep, {steps} + 1).play("build,step,save,kill,load,step*{steps}"))
panel"""

# From a click until the last change of the panel: none came in the second and a half after it.
MEASURED = """async button => {
  const panel = button.closest('.dora-repro-panel');
  let last = 0;
  const seen = new MutationObserver(() => { last = performance.now(); });
  seen.observe(panel, {subtree: true, childList: true, characterData: true, attributes: true});
  const begun = performance.now();
  button.click();
  await new Promise(done => {
    const wait = () => last && performance.now() - last > 1500 ? done() : setTimeout(wait, 20);
    wait();
  });
  seen.disconnect();
  return last - begun;
}"""


def main(arguments: list[str] | None = None) -> None:
    parser = timing.arguments(__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=15, help="how many of each kind")
    parser.add_argument("--leaves", type=int, default=200, help="parameters in the heat map")
    parser.add_argument("--steps", type=int, default=100, help="steps in the heat map")
    options = parser.parse_args(arguments)
    from tests.browser import jupyter

    if why := jupyter.missing():
        parser.exit(2, f"clicks.py {why}\n")
    deep = DEEP.format(leaves=options.leaves, steps=options.steps)
    heat = f"heat map, {options.leaves} x {options.steps}"
    found = dict(measured(jupyter, {"tiny": TINY, heat: deep}, options.clicks))
    rows = [
        {
            "what": what,
            "clicks": len(times),
            "median ms": statistics.median(times),
            "slowest ms": max(times),
            "goal ms": GOALS.get(what, "–"),
        }
        for what, times in found.items()
    ]
    timing.report("From a click to the changed view", rows, options, ["the first of each kind is left out"])


def measured(jupyter, sources: dict[str, str], clicks: int):
    """(what, milliseconds of each click), for every notebook."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder, home = Path(name, "copies"), Path(name, "home")
        folder.mkdir(), home.mkdir()
        with jupyter.server(folder, home, home / "log.txt") as address:
            browser = playwright.chromium.launch(executable_path=jupyter.chromium(), args=["--no-sandbox"])
            for number, (what, source) in enumerate(sources.items()):
                write(folder / f"{number}.ipynb", source)
                page = browser.new_page(viewport=jupyter.SIZE)
                notebook = jupyter.Notebook(page, home)
                notebook.open(address.format(f"lab/workspaces/{number}/tree/{number}.ipynb"))
                notebook.run_all()
                panel = page.locator(".dora-repro-panel").first
                yield from (steps_on if what == "tiny" else heat_maps)(panel, what, clicks)
                page.close()
            browser.close()


def steps_on(panel, what: str, clicks: int):
    """Step, with one view open after the other."""
    for tab in ("State", "Losses", "Parameters"):
        panel.get_by_role("tab", name=tab).click()
        button = panel.locator("button:has-text('Step')")
        yield f"Step, {tab} open", [button.evaluate(MEASURED) for _ in range(clicks + 1)][1:]


def heat_maps(panel, what: str, clicks: int):
    """The heat map drawn anew, by the one measure and the other."""
    panel.get_by_role("tab", name="Parameters").click()
    both = [panel.locator(f"button:has-text('{name}')") for name in ("ULP", "absolute")]
    yield what, [both[index % 2].evaluate(MEASURED) for index in range(clicks + 1)][1:]


def write(path: Path, source: str) -> None:
    """A notebook of one cell."""
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
