# What initramfs-tools runs: the hook when an initramfs is built, the scripts in it when it boots.
set(initramfs_tools ${CMAKE_INSTALL_DATADIR}/initramfs-tools)
set(hook ${PROJECT_SOURCE_DIR}/initramfs-hook)
install(PROGRAMS ${hook}/hook DESTINATION ${initramfs_tools}/hooks RENAME volseal COMPONENT volseal-initramfs)
install(PROGRAMS ${hook}/scripts/local-top DESTINATION ${initramfs_tools}/scripts/local-top
  RENAME volseal COMPONENT volseal-initramfs)
foreach(stage init-bottom panic)
  install(PROGRAMS ${hook}/scripts/latch DESTINATION ${initramfs_tools}/scripts/${stage}
    RENAME volseal COMPONENT volseal-initramfs)
endforeach()
install(FILES ${hook}/boot.conf DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/volseal COMPONENT volseal-initramfs)
