//! Objects as files on a [`Disk`].
//!
//! This is where segments are by default. It is our own and not a ready-made one for two reasons:
//! what is written is synced in small steps, so that no long writeback at the end of a segment
//! stalls the journal; and a simulated disk under it tests the very code that runs in life.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use forebay_base::planted;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart,
};

use crate::disk::{Disk, DiskFile};

const UNFINISHED: &str = ".new";
/// Bytes that are written before they are synced: what a sync of another file may have to wait for.
const SYNC_BYTES: usize = 2 << 20;

/// Objects as files below one folder of a [`Disk`].
///
/// All work is done on the polling thread, and no future ever waits. An object has its name only
/// when it is whole and durable. Conditions, versions, tags and copies are not supported, and a
/// listing gives the objects that lie directly in the folder it is asked for.
pub struct DiskObjects {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl DiskObjects {
    /// Objects below `root`, which is made when the first one is written.
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        Self { disk, root }
    }

    fn file(&self, location: &Path) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(location.parts().map(|part| part.as_ref().to_owned()));
        path
    }

    fn begin(&self, location: &Path) -> Result<DiskUpload> {
        let path = self.file(location);
        let dir = path.parent().map(FilePath::to_owned).unwrap_or_default();
        let unfinished = unfinished(&path);
        let file = self
            .disk
            .create_dir(&dir)
            .and_then(|()| self.disk.create(&unfinished))
            .map_err(|error| failed(&path, error))?;
        Ok(DiskUpload {
            disk: Arc::clone(&self.disk),
            file,
            path,
            at: 0,
            synced: Arc::default(),
        })
    }

    fn meta(&self, location: &Path, file: &dyn DiskFile) -> Result<ObjectMeta> {
        let size = file
            .size()
            .map_err(|error| failed(&self.file(location), error))?;
        Ok(ObjectMeta {
            location: location.clone(),
            last_modified: Default::default(),
            size,
            e_tag: None,
            version: None,
        })
    }

    fn get(&self, location: &Path, options: &GetOptions) -> Result<GetResult> {
        let conditions = options.if_match.is_some()
            || options.if_none_match.is_some()
            || options.if_modified_since.is_some()
            || options.if_unmodified_since.is_some()
            || options.version.is_some();
        if conditions {
            return Err(not_supported("conditions"));
        }
        let path = self.file(location);
        let file = self
            .disk
            .open(&path)
            .map_err(|error| failed(&path, error))?;
        let meta = self.meta(location, file.as_ref())?;
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(|error| Error::Generic {
                store: STORE,
                source: error.into(),
            })?,
            None => 0..meta.size,
        };
        let bytes = if options.head {
            Bytes::new()
        } else {
            read(file.as_ref(), &range).map_err(|error| failed(&path, error))?
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed()),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    fn entries(&self, prefix: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let folder = prefix.cloned().unwrap_or_default();
        let dir = self.file(&folder);
        let names = match self.disk.list(&dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&dir, error)),
        };
        let mut found = Vec::new();
        for name in names.iter().filter(|name| !name.ends_with(UNFINISHED)) {
            let location = folder.clone().join(name.as_str());
            let file = match self.disk.open(&dir.join(name)) {
                Ok(file) => file,
                // A folder, or deleted meanwhile.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::IsADirectory | io::ErrorKind::NotFound
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(failed(&dir.join(name), error)),
            };
            found.push(self.meta(&location, file.as_ref())?);
        }
        Ok(found)
    }
}

const STORE: &str = "disk";

fn failed(path: &FilePath, error: io::Error) -> Error {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            path,
            source: error.into(),
        },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied {
            path,
            source: error.into(),
        },
        _ => Error::Generic {
            store: STORE,
            source: error.into(),
        },
    }
}

fn not_supported(what: &str) -> Error {
    Error::NotSupported {
        source: format!("{what} on a plain disk").into(),
    }
}

fn unfinished(path: &FilePath) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

fn read(file: &dyn DiskFile, range: &Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_at(range.start, &mut bytes)?;
    Ok(bytes.into())
}

impl fmt::Debug for DiskObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskObjects({})", self.root.display())
    }
}

impl fmt::Display for DiskObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.display().fmt(f)
    }
}

#[async_trait]
impl ObjectStore for DiskObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        if opts.mode != PutMode::Overwrite {
            return Err(not_supported("conditions"));
        }
        let mut upload = self.begin(location)?;
        upload.put_part(payload).await?;
        upload.complete().await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(self.begin(location)?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.get(location, &options)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (disk, root) = (Arc::clone(&self.disk), self.root.clone());
        let objects = Self { disk, root };
        locations
            .map(move |location| {
                let location = location?;
                let path = objects.file(&location);
                let dir = path.parent().unwrap_or(&objects.root);
                objects
                    .disk
                    .remove(&path)
                    .and_then(|()| objects.disk.sync_dir(dir))
                    .map_err(|error| failed(&path, error))?;
                Ok(location)
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.entries(prefix) {
            Ok(found) => stream::iter(found.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(not_supported("listing folders"))
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(not_supported("copying"))
    }
}

/// An object being written as `….new`.
struct DiskUpload {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    at: u64,
    /// Bytes of the parts that are durable.
    synced: Arc<AtomicU64>,
}

impl fmt::Debug for DiskUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskUpload({})", self.path.display())
    }
}

#[async_trait]
impl MultipartUpload for DiskUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let mut at = self.at;
        let length = data.content_length() as u64;
        self.at += length;
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let synced = Arc::clone(&self.synced);
        Box::pin(async move {
            for bytes in data.iter().flat_map(|bytes| bytes.chunks(SYNC_BYTES)) {
                file.write_at(at, bytes)
                    .and_then(|()| planted!(ObjectNotSynced => Ok(()), else file.sync_data()))
                    .map_err(|error| failed(&path, error))?;
                at += bytes.len() as u64;
            }
            synced.fetch_add(length, Ordering::Relaxed);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.synced.load(Ordering::Relaxed) != self.at {
            return Err(Error::Generic {
                store: STORE,
                source: "a part of the object was not written".into(),
            });
        }
        let dir = self.path.parent().unwrap_or(FilePath::new(""));
        self.disk
            .rename(&unfinished(&self.path), &self.path)
            .and_then(|()| planted!(ObjectNotSynced => Ok(()), else self.disk.sync_dir(dir)))
            .map_err(|error| failed(&self.path, error))?;
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: Default::default(),
        })
    }

    async fn abort(&mut self) -> Result<()> {
        self.disk
            .remove(&unfinished(&self.path))
            .map_err(|error| failed(&self.path, error))
    }
}
