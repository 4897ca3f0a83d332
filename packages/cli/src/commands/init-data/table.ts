import type { CommandTable } from '../../frame/table.js';

export const initDataCommands: CommandTable = {
  create: {
    summary: 'make a document of files',
    load: async () => (await import('./create.js')).create,
  },
  digest: {
    summary: 'compute the HOST_DATA that binds it',
    load: async () => (await import('./digest.js')).digest,
  },
  check: {
    summary: 'hold a document against HOST_DATA',
    load: async () => (await import('./check.js')).check,
  },
};
