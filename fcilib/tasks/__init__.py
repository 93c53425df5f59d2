"""The problems a router is asked to solve. Each is one file, and one line here."""

from fcilib.tasks.batch import Batch as Batch
from fcilib.tasks.evidence import Evidence as Evidence
from fcilib.tasks.ladder import Ladder as Ladder
from fcilib.tasks.mqar import MQAR as MQAR
from fcilib.tasks.task import Task as Task
