import type { CommandTable } from '../../frame/table.js';

/** Every command of `vouchsafe broker`. Loading this file loads none of them. */
export const brokerCommands: CommandTable = {
  init: {
    summary: 'make a broker in a folder',
    load: async () => (await import('./init.js')).init,
  },
  serve: {
    summary: 'answer guests, hosts and administrators',
    load: async () => (await import('./serve.js')).serve,
  },
  status: {
    summary: 'how a running broker is set up',
    load: async () => (await import('./status.js')).status,
  },
  secret: {
    summary: 'what is released',
    commands: {
      put: {
        summary: 'store a version of a secret',
        load: async () => (await import('./secret/put.js')).put,
      },
      list: {
        summary: 'list secrets, without their content',
        load: async () => (await import('./secret/list.js')).list,
      },
      policy: {
        summary: 'say which policy decides over a secret',
        load: async () => (await import('./secret/change.js')).assign,
      },
      enable: {
        summary: 'let a secret be released again',
        load: async () => (await import('./secret/change.js')).enable,
      },
      disable: {
        summary: 'keep a secret from being released',
        load: async () => (await import('./secret/change.js')).disable,
      },
      delete: {
        summary: 'destroy a secret or a version of it',
        load: async () => (await import('./secret/change.js')).remove,
      },
    },
  },
  policy: {
    summary: 'to whom it is released',
    commands: {
      set: {
        summary: 'set a release policy',
        load: async () => (await import('./policy/set.js')).set,
      },
      list: {
        summary: 'list release policies',
        load: async () => (await import('./policy/show.js')).list,
      },
      show: {
        summary: 'show a release policy',
        load: async () => (await import('./policy/show.js')).show,
      },
      delete: {
        summary: 'delete a release policy',
        load: async () => (await import('./policy/show.js')).remove,
      },
    },
  },
  reference: {
    summary: 'which software is known',
    commands: {
      publish: {
        summary: 'sign and publish reference values',
        load: async () => (await import('./reference/publish.js')).publish,
      },
      list: {
        summary: 'list reference values',
        load: async () => (await import('./reference/publish.js')).list,
      },
      trust: {
        summary: 'trust an issuer of reference values',
        load: async () => (await import('./reference/publish.js')).trust,
      },
      'generate-key': {
        summary: 'make a key that signs reference values',
        load: async () => (await import('./reference/publish.js')).generateKey,
      },
    },
  },
  launch: {
    summary: 'which launches of SEV and SEV-ES are expected',
    commands: {
      set: {
        summary: 'expect a kind of launch',
        load: async () => (await import('./launch/launches.js')).set,
      },
      list: {
        summary: 'list expected kinds of launch',
        load: async () => (await import('./launch/launches.js')).list,
      },
      delete: {
        summary: 'expect a kind of launch no more',
        load: async () => (await import('./launch/launches.js')).remove,
      },
    },
  },
  audit: {
    summary: 'the record of what was asked, decided and released',
    commands: {
      tail: {
        summary: 'show the newest entries',
        load: async () => (await import('./audit/record.js')).tail,
      },
      verify: {
        summary: 'verify the whole record',
        load: async () => (await import('./audit/record.js')).verify,
      },
      export: {
        summary: 'write the whole record into a file',
        load: async () => (await import('./audit/record.js')).exportRecord,
      },
    },
  },
  token: {
    summary: 'administrators and keys',
    commands: {
      issue: {
        summary: 'issue an administrator’s token',
        load: async () => (await import('./token/tokens.js')).issue,
      },
      list: {
        summary: 'list administrators’ tokens',
        load: async () => (await import('./token/tokens.js')).list,
      },
      revoke: {
        summary: 'revoke an administrator’s token',
        load: async () => (await import('./token/tokens.js')).revoke,
      },
      recover: {
        summary: 'make an administrator’s token where none is left',
        load: async () => (await import('./token/recover.js')).recover,
      },
      'rotate-key': {
        summary: 'make a new key that signs attestation tokens',
        load: async () => (await import('./token/tokens.js')).rotate,
      },
    },
  },
  'master-key': {
    summary: 'what the database is sealed under',
    commands: {
      change: {
        summary: 'seal it under another master key',
        load: async () => (await import('./master-key/change.js')).change,
      },
    },
  },
  explain: {
    summary: 'why a guest was refused',
    load: async () => (await import('./explain.js')).explain,
  },
};
