// What can go wrong in the pool, and how NBD clients are told.
//
//   code                  meaning                                              remedy                     HTTP  NBD
//   POOL_FULL             no segment is free                                   delete, trim, add a disk   507   ENOSPC
//   VOLUME_EXISTS         a volume of that name differs from the one asked     choose another name        409   –
//   VOLUME_NOT_FOUND      no volume of that name                               –                          404   –
//   VOLUME_IN_USE         attached read-write already, or busy                 detach it first            409   –
//   VOLUME_DAMAGED        records below the durable position cannot be read    restore a snapshot         500   EIO
//   SNAPSHOT_NOT_FOUND    no snapshot of that name                             –                          404   –
//   SNAPSHOT_EXISTS       that name is taken                                   choose another             409   –
//   POOL_EXISTS           a pool of that name has other disks                  choose another             409   –
//   POOL_IN_USE           the pool holds volumes                               delete them, or --force    409   –
//   OWNED                 an object of the API would make it anew              delete that object        409   –
//   POOL_DELETING         the pool is being deleted                            wait, or another name      409   –
//   POOL_NOT_FOUND        no pool of that name                                 create it                  404   –
//   EXPORT_NOT_FOUND      nothing is exported at that socket                   –                          404   –
//   DISK_FOREIGN          the disk belongs to another pool or to nobody        give an empty one          409   –
//   DISK_FORMAT           an unknown version of the on-disk format             use the newer Plinth       409   –
//   DISK_OLD              an older copy of a disk stands in its place          put the disk itself there  409   –
//   DISK_MISSING          a disk of the pool is not there                      give all disks             409   –
//   DISK_NOT_FOUND        no such disk in the pool                             –                          404   –
//   DISK_IN_USE           the disk still holds what no other has               drain it first             409   –
//   TIME_NOT_KEPT         the volume is not kept as it was at that moment      choose a later one         409   –
//   ROOM_PENDING          the pool is making room                              try again                  503   –
//   JOB_NOT_FOUND         no background job of that number                     –                          404   –
//   POOL_MISCOUNTED       what counts as in use is not what the maps name      start storaged: it counts  500   –
//   DISK_DAMAGED          the superblock cannot be read                        replace the disk           500   –
//   DISK_TOO_SMALL        fewer than eight segments fit                        give a larger one          422   –
//   CATALOGUE_FORMAT      the catalogue was written by a newer program         use the newer Plinth       409   –
//   CATALOGUE_OLD         the disks hold what came after the catalogue         put the newest one back    409   –
//   PARAMETER_INVALID     a parameter is missing or out of range (`field`)     –                          422   –
//   VOLUME_LOCKED         encrypted, and its key is not known                  unlock the pool            409   –
//   KEY_NOT_SET           the pool has no key for encrypted volumes            plinth pool rekey          409   –
//   KEY_MISSING           the key file is not there, or no passphrase given    put it there, or unlock    409   –
//   KEY_WRONG             the key is not the pool's                            give the right one         409   –
//   KEY_EXPOSED           others can read the key file                         chmod 600                  422   –
//   KEY_INVALID           the key file holds no key, or cannot be made         –                          422   –
//   KEY_KEPT              a volume is gone, its key is in the ring still       make room: tried again     507   –
//   KEY_RING_DAMAGED      the wrapped keys cannot be read                      restore the key ring       500   –
//   LIMIT_REACHED         one of limits.ts                                     –                          422   –
import { PlinthError, type PlinthErrorOptions } from "../base/errors/index.js";

export type StorageErrorCode =
  | "POOL_FULL"
  | "VOLUME_EXISTS"
  | "VOLUME_NOT_FOUND"
  | "VOLUME_IN_USE"
  | "VOLUME_DAMAGED"
  | "SNAPSHOT_NOT_FOUND"
  | "SNAPSHOT_EXISTS"
  | "POOL_EXISTS"
  | "POOL_IN_USE"
  | "OWNED"
  | "POOL_DELETING"
  | "POOL_NOT_FOUND"
  | "EXPORT_NOT_FOUND"
  | "DISK_FOREIGN"
  | "DISK_FORMAT"
  | "DISK_OLD"
  | "DISK_MISSING"
  | "DISK_NOT_FOUND"
  | "DISK_IN_USE"
  | "TIME_NOT_KEPT"
  | "ROOM_PENDING"
  | "JOB_NOT_FOUND"
  | "DISK_DAMAGED"
  | "DISK_TOO_SMALL"
  | "CATALOGUE_FORMAT"
  | "CATALOGUE_OLD"
  | "PARAMETER_INVALID"
  | "VOLUME_LOCKED"
  | "KEY_KEPT"
  | "KEY_NOT_SET"
  | "KEY_MISSING"
  | "KEY_WRONG"
  | "KEY_EXPOSED"
  | "KEY_INVALID"
  | "KEY_RING_DAMAGED"
  | "LIMIT_REACHED";

export function storageError(
  code: StorageErrorCode,
  message: string,
  options: PlinthErrorOptions = {},
): PlinthError {
  return new PlinthError(code, message, options);
}

/** What data-path calls return: 0, or one of these. The numbers are Linux's and NBD's alike. */
export const OK = 0;
export const EPERM = 1;
export const EIO = 5;
/** Not now: the cleaner is making room. The caller tries the same call again when told to. */
export const EAGAIN = 11;
export const EINVAL = 22;
export const ENOSPC = 28;
export const ENOTSUP = 95;

/** What the disk below says, in the words a device may use. */
export function toDeviceError(errno: number): number {
  return errno === OK || errno === ENOSPC || errno === EIO ? errno : EIO;
}
