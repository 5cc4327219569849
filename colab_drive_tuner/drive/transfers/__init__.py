"""Contents of files: uploads and downloads that survive breaks, with their checksums."""
