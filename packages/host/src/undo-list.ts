/** Steps that take back what was done, last thing first. */
export interface UndoList {
  undoLater(step: () => unknown): void;
  /** Runs every step, also after one has failed. @throws what the first failed step threw */
  undo(): Promise<void>;
}

export function undoList(): UndoList {
  const steps: (() => unknown)[] = [];
  return {
    undoLater(step) {
      steps.push(step);
    },
    async undo() {
      const failures: unknown[] = [];
      for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
        try {
          await step();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
  };
}
