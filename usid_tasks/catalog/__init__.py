"""The index of the receipts: what there is, found by words and fields, made anew at will.

:class:`usid_tasks.catalog.catalog.Catalog` is what others use; nothing here is the truth.
"""
