import { expect, test } from 'vitest';
import { undoList } from './undo-list.js';

test('takes back the last thing first, all of them, once, and tells the first failure', async () => {
  const { undoLater, undo } = undoList();
  const taken: string[] = [];
  undoLater(() => taken.push('memory'));
  undoLater(async () => {
    taken.push('handle');
    throw new Error('handle');
  });
  undoLater(() => {
    taken.push('asid');
    throw new Error('asid');
  });
  await expect(undo()).rejects.toThrow('asid');
  expect(taken).toEqual(['asid', 'handle', 'memory']);
  await undo();
  expect(taken).toHaveLength(3);
});
