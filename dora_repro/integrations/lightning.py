"""Lightning: `Trainer(…, callbacks=[DoraReproCallback()])`, of `lightning` or `pytorch_lightning`."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from dora_repro.errors import MissingExtra
from dora_repro.integrations.naming import record_libraries

_OLDER = "pytorch_lightning"  # the same library under the name that it had: a script uses one of the two

if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    try:
        older = _OLDER in sys.modules and "lightning" not in sys.modules
        Callback = importlib.import_module(_OLDER if older else "lightning.pytorch").Callback
    except ImportError as error:
        raise MissingExtra("lightning", "lightning", "DoraReproCallback of Lightning") from error

__all__ = ["DoraReproCallback"]


class DoraReproCallback(Callback):
    """Names `lightning/optimizers`, `lightning/fit_loop`, `callback/ModelCheckpoint` and so on, for a check.

    When training begins all that Lightning keeps is restored, and the sanity check of validation is over.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        record_libraries()
