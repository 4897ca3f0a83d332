import type { CommandTable } from '../../frame/table.js';

export const agentCommands: CommandTable = {
  serve: {
    summary: 'serve containers and their tools',
    load: async () => (await import('./serve.js')).serve,
  },
  'key-provider': {
    summary: 'open one layer’s key, from standard input',
    load: async () => (await import('./key-provider.js')).keyProvider,
  },
};
