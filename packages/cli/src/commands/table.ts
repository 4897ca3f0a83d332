import type { CommandTable } from '../frame/table.js';

/** Every command of `vouchsafe`. Loading this file loads none of them. */
export const commandTable: CommandTable = {
  policy: {
    summary: 'what a guest policy allows a host to do',
    commands: {
      explain: {
        summary: 'explain a guest policy in words',
        load: async () => (await import('./policy/explain.js')).explain,
      },
    },
  },
  measurement: {
    summary: 'launch measurements of SEV and SEV-ES',
    commands: {
      build: {
        summary: 'compute the measurement of an expected launch',
        load: async () => (await import('./measurement/build.js')).build,
      },
      verify: {
        summary: 'accept or refuse the measurement of a launch',
        load: async () => (await import('./measurement/verify.js')).verify,
      },
    },
  },
  secret: {
    summary: 'secrets for a guest that is being launched',
    commands: {
      build: {
        summary: 'encrypt secrets for one launch',
        load: async () => (await import('./secret/build.js')).build,
      },
      table: {
        summary: 'secret tables in plain text',
        commands: {
          show: {
            summary: 'list the entries of a secret table',
            load: async () => (await import('./secret/table-show.js')).tableShow,
          },
        },
      },
    },
  },
};
