import { launcherConformance } from '../testing/launcher-conformance.js';
import { standInQemu } from '../testing/stand-in-qemu.js';
import { qemuLauncher } from './qemu-launcher.js';

launcherConformance('qemu', (host) => qemuLauncher({ start: standInQemu(host) }));
