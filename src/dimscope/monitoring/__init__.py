"""Monitoring: measure the layers of a network while it is trained.

In: a network that is being trained and a fixed probe of stimuli. Out: an
:class:`~dimscope.IDMonitor` with the history of every layer, its drift, alarms, and logs; and
:func:`id_loss`, the dimension of a batch as a term of the loss. Adapters connect a monitor to
Lightning, to the Trainer of transformers and to accelerate. A framework is imported only if the
user asks for its adapter.

Begin reading at :mod:`dimscope.monitoring.monitor`.
"""

from dimscope.extras import lazy_names

# As in dimscope itself: loaded at first use, so that no framework is imported for nothing.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
