-- How well a window's predictions agreed with the labels that arrived in it: bytes that belong to the monitor.
ALTER TABLE profiles ADD COLUMN performance BLOB;
