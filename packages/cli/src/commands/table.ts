import type { CommandTable } from '../frame/table.js';
import { agentCommands } from './agent/table.js';
import { brokerCommands } from './broker/table.js';
import { imageCommands } from './image/table.js';
import { initDataCommands } from './init-data/table.js';

/** Every command of `vouchsafe`. Loading this file loads none of them. */
export const commandTable: CommandTable = {
  up: {
    summary: 'start everything on this computer, and keep it up',
    load: async () => (await import('./up/up.js')).up,
  },
  demo: {
    summary: 'watch a whole flow, or a hostile host at work',
    load: async () => (await import('./demo.js')).demo,
  },
  chain: {
    summary: 'certificates of a SEV platform',
    commands: {
      verify: {
        summary: 'accept or refuse a platform’s chain',
        load: async () => (await import('./chain/verify.js')).verify,
      },
      show: {
        summary: 'show certificates without verifying them',
        load: async () => (await import('./chain/show.js')).show,
      },
    },
  },
  digest: {
    summary: 'compute the launch digest of a guest',
    load: async () => (await import('./digest/calculate.js')).calculate,
    commands: {
      explain: {
        summary: 'find out which launch gives a digest',
        load: async () => (await import('./digest/explain.js')).explain,
      },
    },
  },
  report: {
    summary: 'attestation reports of SEV-SNP',
    commands: {
      verify: {
        summary: 'accept or refuse an attestation report',
        load: async () => (await import('./report/verify.js')).verify,
      },
      show: {
        summary: 'show every field of a report in words',
        load: async () => (await import('./report/show.js')).show,
      },
    },
  },
  'id-block': {
    summary: 'say beforehand what a SEV-SNP guest must be',
    commands: {
      create: {
        summary: 'make and sign an ID block',
        load: async () => (await import('./id-block/create.js')).create,
      },
      sign: {
        summary: 'sign an ID block that exists',
        load: async () => (await import('./id-block/sign.js')).sign,
      },
      verify: {
        summary: 'accept or refuse an ID block',
        load: async () => (await import('./id-block/verify.js')).verify,
      },
      show: {
        summary: 'show what an ID block says',
        load: async () => (await import('./id-block/show.js')).show,
      },
      'key-digest': {
        summary: 'the digest by which reports name a key',
        load: async () => (await import('./id-block/key-digest.js')).keyDigest,
      },
      'generate-key': {
        summary: 'make an ID key or author key',
        load: async () => (await import('./id-block/generate-key.js')).generateKey,
      },
    },
  },
  policy: {
    summary: 'what a guest policy allows a host to do',
    commands: {
      explain: {
        summary: 'explain a guest policy in words',
        load: async () => (await import('./policy/explain.js')).explain,
      },
    },
  },
  session: {
    summary: 'launch sessions with a platform',
    commands: {
      create: {
        summary: 'verify a platform and make a launch session for it',
        load: async () => (await import('./session/create.js')).create,
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
  'attestation-report': {
    summary: 'attestation reports of SEV and SEV-ES',
    commands: {
      verify: {
        summary: 'accept or refuse an attestation report',
        load: async () => (await import('./attestation-report/verify.js')).verify,
      },
    },
  },
  vmsa: {
    summary: 'VMSA pages: the state that a SEV-ES CPU starts with',
    commands: {
      build: {
        summary: 'make the page of one CPU',
        load: async () => (await import('./vmsa/build.js')).build,
      },
      show: {
        summary: 'show the registers in a page',
        load: async () => (await import('./vmsa/show.js')).show,
      },
    },
  },
  kds: {
    summary: 'AMD’s key service, and one for development',
    commands: {
      fetch: {
        summary: 'fetch a certificate or a revocation list',
        load: async () => (await import('./kds/fetch.js')).fetch,
      },
      mirror: {
        summary: 'serve AMD’s answers to a fleet and to browsers',
        load: async () => (await import('./kds/mirror.js')).mirror,
      },
      bundle: {
        summary: 'endorsements in one file, for machines without a network',
        commands: {
          export: {
            summary: 'gather endorsements into one file',
            load: async () => (await import('./kds/bundle-export.js')).bundleExport,
          },
          import: {
            summary: 'keep the endorsements of such a file',
            load: async () => (await import('./kds/bundle-import.js')).bundleImport,
          },
        },
      },
      serve: {
        summary: 'serve a development authority',
        load: async () => (await import('./kds/serve.js')).serve,
      },
    },
  },
  platform: {
    summary: 'the host’s secure processor',
    commands: {
      status: {
        summary: 'firmware, owner, guests, chip id',
        load: async () => (await import('./platform/status.js')).status,
      },
      export: {
        summary: 'write the platform’s certificates',
        load: async () => (await import('./platform/export.js')).exportChain,
      },
      generate: {
        summary: 'make a platform owner’s CA',
        load: async () => (await import('./platform/generate.js')).generate,
      },
      provision: {
        summary: 'take ownership with the owner’s CA',
        load: async () => (await import('./platform/provision.js')).provision,
      },
      csr: {
        summary: 'write the PEK for its owner to sign',
        load: async () => (await import('./platform/csr.js')).csr,
      },
      sign: {
        summary: 'sign a PEK, where the owner’s key is',
        load: async () => (await import('./platform/sign.js')).sign,
      },
      import: {
        summary: 'take ownership with a signed PEK',
        load: async () => (await import('./platform/import.js')).importOwner,
      },
      rotate: { summary: 'make a new PDH', load: async () => (await import('./platform/keys.js')).rotate },
      regenerate: {
        summary: 'make a new OCA, PEK and PDH',
        load: async () => (await import('./platform/keys.js')).regenerate,
      },
      config: {
        summary: 'what SEV-SNP reports are signed for and keep back',
        load: async () => (await import('./platform/snp.js')).config,
      },
      commit: {
        summary: 'never run older SEV-SNP firmware again',
        load: async () => (await import('./platform/snp.js')).commit,
      },
      'vlek-load': {
        summary: 'load a VLEK',
        load: async () => (await import('./platform/snp.js')).vlekLoad,
      },
      reset: { summary: 'erase all keys', load: async () => (await import('./platform/keys.js')).reset },
    },
  },
  host: {
    summary: 'launch confidential guests',
    commands: {
      launch: {
        summary: 'launch a guest for its owner',
        load: async () => (await import('./host/launch.js')).launch,
      },
      serve: {
        summary: 'serve a software guest on a QMP socket',
        load: async () => (await import('./host/serve.js')).serve,
      },
      status: {
        summary: 'what an owner needs of a waiting guest',
        load: async () => (await import('./host/qmp.js')).status,
      },
      inject: { summary: 'inject a secret packet', load: async () => (await import('./host/qmp.js')).inject },
      report: {
        summary: 'write an attestation report of a guest',
        load: async () => (await import('./host/qmp.js')).report,
      },
      resume: { summary: 'let a guest run', load: async () => (await import('./host/qmp.js')).resume },
      quit: { summary: 'end a guest', load: async () => (await import('./host/qmp.js')).quit },
    },
  },
  guest: {
    summary: 'inside a guest: its reports, keys, secrets and disks',
    commands: {
      report: {
        summary: 'ask for an attestation report',
        load: async () => (await import('./guest/attestation/report.js')).report,
      },
      key: {
        summary: 'have a key derived for this guest',
        load: async () => (await import('./guest/attestation/key.js')).key,
      },
      seal: {
        summary: 'seal a file or a volume to this guest',
        load: async () => (await import('./guest/attestation/seal.js')).seal,
      },
      unseal: {
        summary: 'open what was sealed to this guest',
        load: async () => (await import('./guest/attestation/unseal.js')).unseal,
      },
      device: {
        summary: 'attestation devices for development',
        commands: {
          serve: {
            summary: 'serve the device of a software guest',
            load: async () => (await import('./guest/attestation/device-serve.js')).deviceServe,
          },
        },
      },
      firmware: {
        summary: 'write the firmware image of software guests',
        load: async () => (await import('./guest/firmware.js')).firmware,
      },
      secrets: {
        summary: 'list the injected secrets, or take one',
        load: async () => (await import('./guest/secrets/secrets.js')).secrets,
        commands: {
          get: {
            summary: 'attest to a key broker and fetch a secret',
            load: async () => (await import('./guest/secrets/get-secret.js')).getSecret,
          },
        },
      },
      unlock: {
        summary: 'unlock a LUKS volume with the injected key',
        load: async () => (await import('./guest/secrets/unlock.js')).unlock,
      },
    },
  },
  disk: {
    summary: 'encrypted disks, and the keys that open them',
    commands: {
      create: {
        summary: 'make a LUKS2 volume',
        load: async () => (await import('./disk/create.js')).create,
      },
      unlock: {
        summary: 'unlock one with an injected or attested key',
        load: async () => (await import('./disk/unlock.js')).unlock,
      },
      rekey: {
        summary: 'replace its key',
        load: async () => (await import('./disk/rekey.js')).rekey,
      },
    },
  },
  image: { summary: 'encrypted container images', commands: imageCommands },
  'init-data': {
    summary: 'settings that a host hands to a guest, bound by HOST_DATA',
    commands: initDataCommands,
  },
  reference: {
    summary: 'reference values, where images are built',
    commands: {
      create: {
        summary: 'turn boot files into signed reference values',
        load: async () => (await import('./reference/create.js')).create,
      },
      watch: {
        summary: 'keep doing so for a build folder',
        load: async () => (await import('./reference/watch.js')).watch,
      },
    },
  },
  agent: { summary: 'inside a guest: what serves its containers', commands: agentCommands },
  check: {
    summary: 'look for what a host could change',
    commands: {
      boot: {
        summary: 'what of a boot chain is measured, and what is open',
        load: async () => (await import('./check/boot.js')).boot,
      },
    },
  },
  broker: { summary: 'the guest owner’s service: a key broker', commands: brokerCommands },
};
