import type { CommandTable } from '../../frame/table.js';

export const imageCommands: CommandTable = {
  encrypt: {
    summary: 'encrypt the layers of an image',
    load: async () => (await import('./encrypt.js')).encrypt,
  },
  decrypt: {
    summary: 'decrypt an image with keys of this guest',
    load: async () => (await import('./decrypt.js')).decrypt,
  },
  inspect: {
    summary: 'show what of an image is encrypted, and for whom',
    load: async () => (await import('./inspect.js')).inspect,
  },
  'key-provider': {
    summary: 'what container tools call while they encrypt',
    load: async () => (await import('./key-provider/command.js')).keyProviderCommand,
    commands: {
      serve: {
        summary: 'the same as a service over gRPC',
        load: async () => (await import('./key-provider/serve.js')).serve,
      },
    },
  },
};
