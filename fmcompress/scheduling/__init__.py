"""Which device does which stage and replica of a training over slow, uneven networks (Yuan et al. 2022)."""

from .cost import Cost, cost
from .network import Network
from .plan import Plan, read_plan
from .problem import Problem, problem
from .search import schedule
from .simulate import Simulation, simulate
from .workload import Workload

__all__ = [
    "Cost",
    "Network",
    "Plan",
    "Problem",
    "Simulation",
    "Workload",
    "cost",
    "problem",
    "read_plan",
    "schedule",
    "simulate",
]
