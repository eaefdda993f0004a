"""How fast a model runs here, and how far that is from what the machine can do: `smelt bench`.

from smelt import Engine
from smelt.benchmark import Case, Session

with Engine("model.gguf", n_ctx=1024) as engine:
    session = Session(engine, [Case(prompt=512, batch=1)])
    while session.rounds < 3:
        session.round()
    print(session.result().cases[0].decode)
"""

from .costs import Costs, Work
from .session import Benchmark, Case, CaseResult, Rate, Session

__all__ = ["Benchmark", "Case", "CaseResult", "Costs", "Rate", "Session", "Work"]
