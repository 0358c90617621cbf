from llmos.sched.base import SLICE, Scheduler, Service


class LAS(Scheduler):
    """Least attained service: whoever has had the least so far runs, one quantum at a time."""

    def __init__(self, quantum: Service = SLICE):
        self.slice, self.ready = quantum, []

    def enqueue(self, task, why, now):
        self.ready.append(task)

    def pick(self, now):
        self.ready.sort(key=lambda task: task.attained)
        return self.ready.pop(0) if self.ready else None

    def quantum(self, task, now):
        return self.slice

    def reason(self, task, now):
        return f"least service so far, {task.amount(task.attained)}"
